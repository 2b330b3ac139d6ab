"""Every option on disk is composed, instantiated and trained for a batch; every printed command composes."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from torchvision import models

from src.cli.config import CONF, ROOT, load_config
from src.cli.overrides import expand_home
from src.data.sources.corrections import CorrectionStore
from src.data.sources.scans import USPS_FILES
from src.models.resnet import ResNet
from src.training.build import build
from src.training.fit import fit
from tests.configs import write_teacher

GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")
OPTIONS = [(path.parent.name, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
STARTS_FROM_A_NETWORK = {("finetune", path.stem) for path in (CONF / "finetune").glob("*.yaml") if path.stem != "none"}
STARTS_FROM_A_NETWORK |= {("experiment", "finetune"), ("experiment", "probe")}
ENTRIES = sorted(CONF.glob("*.yaml"))


def small(group: str, name: str, data_root: Path, picture_folder: Path, folder: Path, request) -> list[str]:
    """The overrides that make an option run on small files."""
    given = [f"{group}={name}" if group != "callbacks" else f"callbacks=[{','.join(dict.fromkeys(['default', name]))}]"]
    if group != "data":
        given += ["data=kmnist"]
    if (group, name) == ("data", "mnist"):
        data_root = request.getfixturevalue("mnist_root")
    root = picture_folder if (group, name) == ("data", "folder") else data_root
    if (group, name) == ("data", "feedback"):
        root, mix = folder.parent / "feedback.sqlite", data_root
        CorrectionStore(root).add(np.zeros((1, 28, 28), np.uint8), b"", "ki", "o")
        given += ["data.mix.name=kmnist", f"data.mix.root={mix}"]
    given += [f"data.root={root}", "data.download=false", "data.batch_size=16", f"output_dir={folder}"]
    given += ["run_name=test", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1"]
    given += ["trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.enable_progress_bar=false"]
    if (group, name) not in [("data", "folder"), ("data", "mnist")]:
        given += ["data.val=50"]
    if group == "hparams_search":
        given += ["data.fraction=1"]
    if group in ("scenario", "continual") and name != "none":
        given += ["trainer.max_steps=2", *(["scenario=split"] if group == "continual" else [])]
    if (group, name) == ("scenario", "renewal"):
        pytest.skip("of data=feedback, which tests/data/test_learning_corrections.py trains on")
    if (group, name) == ("scenario", "data_sets"):
        given += ["scenario.then=[fashion_mnist]"]
    if group == "experiment":
        given += [f"experiment={name}"]
    if (group, name) == ("experiment", "lr_range"):
        given += ["trainer.enable_checkpointing=true"]
    if (group, name) == ("model", "pretrained"):
        given += ["model.size=32", "model.weights=null"]
    if (group, name) == ("experiment", "photos"):
        torch.save(models.resnet18().state_dict(), folder.parent / "weights.pt")
        given += ["model.size=32", f"model.weights={folder.parent}/weights.pt"]
    if (group, name) in STARTS_FROM_A_NETWORK:
        source = write_teacher(folder.parent / "source.ckpt", data_root, ResNet)
        given += [f"init_from={source}"]
    if (group, name) == ("data", "own"):
        given += ["data.source._target_=tests.small_data.own_data_set"]
    if (group, name) == ("loss", "distill"):
        given += [f"loss.teacher={write_teacher(folder.parent / 'teacher.ckpt', data_root)}"]
    if (group, name) == ("logger", "wandb"):
        pytest.importorskip("wandb", reason="the wandb extra is not installed")
        given += ["logger.wandb.offline=true"]
    return given


@pytest.fixture
def usps_files(tmp_path, monkeypatch):
    """USPS in its real format, small."""
    import bz2
    import hashlib

    folder = tmp_path / "USPS"
    folder.mkdir()
    for part, count in (("train", 100), ("test", 20)):
        lines = [
            f"{i % 10 + 1} " + " ".join(f"{j}:{1 if (j // 16) == i % 10 else -1}" for j in range(1, 257))
            for i in range(count)
        ]
        content = bz2.compress("\n".join(lines).encode())
        name = USPS_FILES[part][0]
        (folder / name).write_bytes(content)
        monkeypatch.setitem(USPS_FILES, part, (name, hashlib.md5(content).hexdigest()))
    return tmp_path


@pytest.mark.parametrize(("group", "name"), OPTIONS, ids=[f"{group}={name}" for group, name in OPTIONS])
def test_every_option_trains_a_batch(group, name, data_root, picture_folder, tmp_path, request):
    root = request.getfixturevalue("usps_files") if (group, name) == ("data", "usps") else data_root
    cfg = load_config(small(group, name, root, picture_folder, tmp_path / "run", request))
    session = build(cfg)
    data, trainer = session.data, session.trainer
    before = [p.clone() for p in session.initial.model.parameters()]
    fit(session)
    assert trainer.global_step == 2
    if data.info.target:
        assert 0 < float(trainer.callback_metrics["val/mae"]) < data.info.scale
    else:
        assert 0 <= float(trainer.callback_metrics["val/acc"]) <= 1
    assert any(not old.equal(new) for old, new in zip(before, session.initial.model.parameters(), strict=True))
    assert (tmp_path / "run/checkpoints/last.ckpt").is_file()


def test_no_option_is_left_out():
    assert len(OPTIONS) == len(list(CONF.glob("*/*.yaml"))) - len(list(CONF.glob("hydra/*.yaml")))
    assert {
        "data",
        "augment",
        "model",
        "loss",
        "optimizer",
        "scheduler",
        "trainer",
        "callbacks",
        "logger",
        "experiment",
    } <= set(GROUPS)


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_every_config_says_what_it_is(path):
    assert path.read_text().startswith("# "), "a first line that says what the option is"


@pytest.mark.parametrize(
    "path",
    [p for g in GROUPS if g not in ("experiment", "trainer", "logger") for p in sorted((CONF / g).glob("*.yaml"))],
    ids=lambda path: str(path.relative_to(CONF)),
)
def test_every_knob_has_a_comment(path):
    bare = []
    for line in path.read_text().splitlines():
        knob = re.match(r"\s*([a-z]\w*): *[^\s#].*?(#.*)?$", line)
        if knob and not knob[2] and knob[1] not in ("name", "defaults", "folder", "batch_size", "val"):
            bare.append(line)
    written_above = {"scale", "shear_deg", "shift_px", "rotate_deg"} if path.stem == "elastic" else set()
    assert [line for line in bare if line.split(":")[0].strip() not in written_above] == []


def test_option_file_and_class_share_a_name():
    for path in {*(CONF / "model").glob("*.yaml")} - {CONF / "model/resnet_large.yaml"}:  # another size of resnet
        target = yaml.safe_load(path.read_text())["_target_"]
        module, _, name = target.rpartition(".")
        assert module == f"src.models.{path.stem}"
        assert name.lower() == path.stem.replace("_", "")


def test_every_flag_of_the_trainer_is_a_key():
    import inspect

    ours = set(yaml.safe_load((CONF / "trainer/default.yaml").read_text())) - {"_target_"}
    flags = set(inspect.signature(Trainer.__init__).parameters) - {
        "self",
        "logger",
        "callbacks",
        "plugins",
        "default_root_dir",
    }
    assert ours == flags


COMMAND = re.compile(r"python -m (src\.\w+|benchmarks\.\w+)([^`\n#]*)")


def text_of(path: Path) -> str:
    """What a reader sees of a file."""
    if path.suffix != ".ipynb":
        return path.read_text()
    return "\n".join("".join(cell["source"]) + "\n" for cell in json.loads(path.read_text())["cells"])


def printed_commands() -> list[tuple[str, str, str]]:
    files = [
        ROOT / "README.md",
        *(ROOT / "docs").glob("*.md"),
        ROOT / "Makefile",
        *CONF.rglob("*.yaml"),
        *(ROOT / "notebooks").glob("*.ipynb"),
    ]
    return [
        (path.name, module, rest.replace("\\", " "))
        for path in files
        for module, rest in COMMAND.findall(text_of(path).replace("$(PY)", "python"))
    ]


@pytest.mark.parametrize(("where", "module", "rest"), printed_commands())
def test_every_printed_command_composes(where, module, rest):
    assert (ROOT / (module.replace(".", "/") + ".py")).is_file()
    if module.startswith("benchmarks") or "[group=" in rest or "<" in rest:
        return
    words = shlex.split(rest)
    overrides = [word for word in words if not word.startswith("-") and not word.startswith("resume_from=")]
    if "-m" in words:  # a sweep: its first job
        overrides = [re.sub(r"=([^\[,(]+),.*", r"=\1", word) for word in overrides]
    assert load_config([expand_home(word) for word in overrides], module.removeprefix("src."))
