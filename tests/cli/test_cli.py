"""Flags, one-line errors, references on a command line, configs without a command."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from src.cli.command import log_error
from src.cli.config import ROOT, load_config
from src.cli.error_line import error_line, stop_behind
from src.cli.overrides import flags_first
from src.cli.process import command_line
from src.cli.references import resolve_overrides
from src.errors import InputError
from tests.configs import write_teacher


def test_flags_may_stand_anywhere():
    assert flags_first(["a=1", "-m", "b=2"]) == ["-m", "a=1", "b=2"]
    assert flags_first(["a=1", "--cfg", "job"]) == ["--cfg", "job", "a=1"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model=lenett", ["model=lenett: one of cnn, convnet, lenet, mlp, pretrained, resnet"]),
        ("callbacks=[default,nosuch]", ["callbacks=nosuch"]),
        ("hydra/sweeper=nosuch", ["hydra/sweeper=nosuch: one of basic, grid, optuna"]),
        ("modle=lenet", ["did you mean model"]),
        ("optimizer.rate=1", ["optimizer.rate does not exist", "lr"]),
        ("data.batch_size=[1", ["[1"]),
        ("seed=choice(null,1.0)", ["cannot be evaluated: ", "a plain list takes null: key=null,1.0"]),
        ("seed=range(1,x)", ["seed=range(1,x) cannot be evaluated: ", "stop: str is incompatible"]),
        ("run_name=a(1)", ["type \"run_name='a(1)'\""]),
        ("hydra.sweeper.params.x=1", ["hydra.sweeper.params.x does not exist; +hydra.sweeper.params.x=... adds it"]),
    ],
)
def test_what_hydra_refuses_is_one_line_that_names_what_is_valid(override, expected):
    with pytest.raises(Exception) as error:
        load_config([override])
    line = error_line(error.value)
    assert "\n" not in line
    assert "Config search path" not in line
    assert all(part in line for part in expected)


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except type(error) as caught:
        return caught


def test_the_log_has_a_traceback_of_what_nobody_foresaw_and_of_errors_in_a_users_own_class(tmp_path):
    handler = logging.FileHandler(tmp_path / "log")
    logging.getLogger().addHandler(handler)
    try:
        for error in (
            raised(InputError("lr=-1")),
            raised(KeyError("lost")),
            raised(InputError("model: refused"), TypeError("theirs")),
        ):
            log_error(error, str(error))
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    first, *others = (tmp_path / "log").read_text().splitlines()
    assert first == "lr=-1"
    assert [line for line in others if line.startswith(("KeyError", "TypeError", "src.errors"))] == [
        "KeyError: 'lost'", "TypeError: theirs", "src.errors.InputError: model: refused",
    ]  # fmt: skip


@pytest.fixture
def source(tmp_path, data_root) -> Path:
    return write_teacher(tmp_path / "runs" / "source" / "checkpoints" / "best.ckpt", data_root)


def test_words_without_references_stay_as_they_are():
    words = ["--cfg", "job", "model=cnn", "init_from=null", "resume_from="]
    assert resolve_overrides(words) == words
    assert resolve_overrides([]) == []


def test_init_from_becomes_a_file_and_brings_its_experiment(source):
    run, found = source.parents[1], [f"init_from={source}", "run_name=mlp_${hydra:runtime.choices.data}"]
    assert resolve_overrides([f"init_from={run}", "seed=1"]) == ["experiment=finetune", "seed=1", *found]
    assert resolve_overrides([f"init_from={run}", "experiment=probe"]) == ["experiment=probe", *found]
    several = ["experiment=finetune", "-m", f"init_from={run},newest"]
    assert resolve_overrides(["scenario=split"]) == ["experiment=continual", "scenario=split"]
    assert resolve_overrides(["scenario=none"]) == ["scenario=none"]
    assert resolve_overrides(["scenario=split", f"init_from={run}"])[0] == "experiment=continual"
    assert resolve_overrides(several) == ["-m", "experiment=finetune", several[-1]]
    with pytest.raises(InputError, match=r"^init_from=nowhere: there is no such file"):
        resolve_overrides(["init_from=nowhere"])


def test_the_network_of_init_from_names_the_runs_folder(source, tmp_path, monkeypatch):
    words = resolve_overrides([f"init_from={source}", "data=digits"])
    assert load_config(words).run_name == "mlp_digits"
    for typed in ("run_name=mine", "hydra.run.dir=here", "-m"):
        assert len(resolve_overrides(["experiment=probe", f"init_from={source}", typed])) == 3
    (tmp_path / "broken.ckpt").write_bytes(b"PK no checkpoint")  # the job says what is wrong with it
    assert len(resolve_overrides(["experiment=probe", f"init_from={tmp_path}/broken.ckpt"])) == 2


def test_the_network_of_a_trusted_package_names_the_folder_too(source, tmp_path, monkeypatch):
    from src.model_files.checkpoint import read_checkpoint, write_checkpoint

    (tmp_path / "namedpackage.py").write_text("from src.models.mlp import MLP\nclass Mine(MLP):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    content = read_checkpoint(source)
    content["config"]["model"] = {"_target_": "namedpackage.Mine"}
    write_checkpoint({key: value for key, value in content.items() if key != "digest"}, source)
    for trust in ("trust=[namedpackage]", "trust=namedpackage", "trust=['namedpackage']"):
        assert load_config(resolve_overrides([f"init_from={source}", "data=digits", trust])).run_name == "Mine_digits"


def test_a_teacher_becomes_a_file(source):
    assert resolve_overrides([f"loss.teacher={source.parents[1]}"]) == [f"loss.teacher={source}"]


def test_resume_from_becomes_the_recorded_command(tmp_path, data_root):
    from src.model_files.checkpoint import read_checkpoint, write_checkpoint

    last = write_teacher(tmp_path / "run" / "checkpoints" / "last.ckpt", data_root)
    with pytest.raises(InputError, match="does not record its command"):
        resolve_overrides([f"resume_from={tmp_path}/run"])
    content = read_checkpoint(last)
    content["config"]["overrides"] = ["seed=3", "resume_from='old'"]
    write_checkpoint({key: value for key, value in content.items() if key != "digest"}, last)
    pinned = [f"resume_from={last}", f"hydra.run.dir={tmp_path}/run", "hydra.output_subdir=null"]
    expected = ["seed=3", "trainer.max_epochs=9", *pinned]
    assert resolve_overrides([f"resume_from={tmp_path}/run", "trainer.max_epochs=9"]) == expected
    for word in ("-m", "hydra.run.dir=x", "hydra.sweep.dir=x", "hydra.output_subdir=x"):
        with pytest.raises(InputError, match=f"leave {word} out"):
            resolve_overrides([f"resume_from={tmp_path}/run", word])


def test_resolving_leaves_the_command_line_alone(source):
    before = list(sys.argv)
    resolve_overrides([f"init_from={source}"])
    assert sys.argv == before
    with command_line(["a=1"]):
        assert sys.argv[1:] == ["a=1"]
    assert sys.argv == before


def test_a_config_without_a_command_is_refused_in_one_line_too():
    with pytest.raises(InputError, match="model=no: one of cnn, "):
        load_config(["model=no"])


def test_newest_is_where_runs_are_written(source, monkeypatch, tmp_path):
    """Both are in outputs/ of the working directory."""
    (tmp_path / "there/outputs").mkdir(parents=True)
    source.parents[1].rename(tmp_path / "there/outputs/run")
    monkeypatch.chdir(tmp_path / "there")
    found = tmp_path / "there/outputs/run/checkpoints/best.ckpt"
    assert f"init_from={found}" in resolve_overrides(["init_from=newest"])
    assert Path(load_config(["data=digits"]).output_dir).parent == tmp_path / "there/outputs"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"no run in {tmp_path}/outputs has"):
        resolve_overrides(["init_from=newest"])


def test_a_config_without_a_command_has_a_folder_of_its_own(tmp_path):
    first, second = load_config(["data=digits"]), load_config(["data=digits"])
    assert first.run_name == "lenet_digits"
    assert Path(first.output_dir).parent == ROOT / "outputs"
    assert first.output_dir != second.output_dir and not Path(first.output_dir).exists()
    assert "hydra" not in first
    assert load_config(["run_name=mine"], output_dir=tmp_path).output_dir == str(tmp_path)
    with pytest.raises(Exception, match="nonsense"):
        load_config(["nonsense=1"])


@pytest.mark.parametrize(
    ("mode", "stop", "status"),
    [([], "CommandExit(143, 'stopped')", 143), (["-m", "seed=0,1"], "KeyboardInterrupt", 130)],
    ids=["run, TERM", "sweep, INT"],
)
def test_a_stop_counts_where_a_library_raises_an_error_of_its_own_instead(mode, stop, status, tmp_path):
    """OmegaConf's clean-up of a config that was half copied when Ctrl-C came raises AttributeError."""
    code = f"""
import sys
from src.cli import command
from src.cli.error_line import CommandExit

def cut_short(cfg):
    try:
        raise {stop}
    finally:
        try:
            None.clean_up
        except AttributeError as error:
            raise ValueError("half copied") from error

command.check_paths = cut_short
sys.argv[1:] = {[*mode, "data=digits", f"hydra.{'sweep' if mode else 'run'}.dir={tmp_path}/run"]}
from src import train
train.main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stdout + done.stderr
    assert "half copied" not in done.stdout + done.stderr and len(done.stderr.strip().splitlines()) == 1
    states = [json.loads(path.read_text())["state"] for path in tmp_path.glob("run/**/status.json")]
    assert states == ["interrupted"], "no further job of a sweep starts"


def test_errors_that_lead_to_each_other_are_searched_once():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert stop_behind(first) is None
    second.__context__ = stop = KeyboardInterrupt()
    assert stop_behind(first) is stop
    assert stop_behind(None) is None
