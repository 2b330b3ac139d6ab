"""The jobs of a sweep share the config files that the first of them read."""

import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobStatus
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf, open_dict

from src.cli.config import CONF
from src.sweep.launcher import ConfigFilesOnce, SerialLauncher


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A function that runs one job of a sweep over a copy of conf/: it returns the job's config, and Hydra's of it."""
    conf = shutil.copytree(CONF, tmp_path / "conf")
    jobs = []

    def job(cfg):
        jobs.append((OmegaConf.to_container(cfg), OmegaConf.to_container(HydraConfig.get().runtime.choices)))

    def launcher() -> SerialLauncher:
        cfg = compose("train", return_hydra_config=True)
        with open_dict(cfg):
            cfg.hydra.mode = RunMode.MULTIRUN
            cfg.hydra.sweep.dir = str(tmp_path / "sweep")
        made = SerialLauncher()
        loader = GlobalHydra.instance().hydra.config_loader
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        made.setup(hydra_context=context, task_function=job, config=cfg)
        return made

    def run(made: SerialLauncher, *words: str) -> tuple[dict, dict]:
        result = made.submit(list(words), len(jobs)).result()
        assert result.status == JobStatus.COMPLETED
        return jobs[-1]

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        yield conf, launcher, run
    ConfigFilesOnce.read.clear()


WORDS = (["seed=7"], ["model=cnn", "optimizer=sgd"], ["experiment=fast"], ["data.batch_size=7", "callbacks=default"])


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_later_job_composes_what_the_first_one_would(sweep, words):
    _, launcher, run = sweep
    first = run(launcher(), *words)
    later = launcher()
    run(later, "seed=3", "trainer.max_epochs=2")
    for _ in range(2):
        assert run(later, *words) == first


def test_a_file_is_read_once_in_a_sweep(sweep, monkeypatch):
    conf, launcher, run = sweep
    made, read, load = launcher(), [], OmegaConf.load

    def counted(file):
        read.append(Path(file.name).relative_to(conf).as_posix() if str(conf) in file.name else file.name)
        return load(file)

    monkeypatch.setattr(OmegaConf, "load", counted)
    run(made, "seed=0")
    assert {"train.yaml", "model/lenet.yaml"} <= set(read) and len(read) == len(set(read))
    read.clear()
    run(made, "seed=1", "model=cnn")
    assert read == ["model/cnn.yaml"]


def test_the_next_sweep_reads_the_files_again(sweep):
    conf, launcher, run = sweep
    made = launcher()
    assert run(made, "seed=0")[0]["model"]["_target_"].endswith("LeNet")
    file = conf / "model" / "lenet.yaml"
    file.write_text(file.read_text() + "\ndropout_of_mine: 1\n")
    assert "dropout_of_mine" not in run(made, "seed=1")[0]["model"]
    assert run(launcher(), "seed=1")[0]["model"]["dropout_of_mine"] == 1
