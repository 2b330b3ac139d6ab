"""The shell around commands, and what a resumed run may change."""

from copy import deepcopy

import pytest

from src.cli.config import load_config
from src.cli.error_line import error_line
from src.cli.overrides import flags_first
from src.errors import InputError
from src.training.resume import check_same_run

CONFIG = {
    "seed": 0,
    "data": {"name": "digits", "root": "a", "batch_size": 32},
    "augment": {"_target_": "x"},
    "model": {"_target_": "src.models.lenet.LeNet", "dropout": 0.0},
    "loss": {},
    "optimizer": {"lr": 0.1},
    "scheduler": {},
    "task": {"mixup": 0.0},
    "callbacks": {"checkpoints": {"monitor": "val/acc", "folder": "here"}, "progress": {"refresh_steps": 50}},
    "trainer": {"max_epochs": 3},
}


def changed(*path, value) -> dict:
    config = deepcopy(CONFIG)
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return config


@pytest.mark.parametrize(
    "path",
    [
        ("data", "root"),
        ("trainer", "max_epochs"),
        ("callbacks", "checkpoints", "folder"),
        ("callbacks", "progress", "refresh_steps"),
    ],
)
def test_a_resumed_run_may_change_where_and_how_long(path):
    check_same_run(CONFIG, changed(*path, value="other"))


@pytest.mark.parametrize(
    "path",
    [
        ("seed",),
        ("data", "batch_size"),
        ("data", "name"),
        ("model", "_target_"),
        ("optimizer", "lr"),
        ("optimizer", "momentum"),
        ("task", "mixup"),
        ("callbacks", "checkpoints", "monitor"),
        ("callbacks", "ema"),
    ],
)
def test_a_resumed_run_may_not_become_another(path):
    with pytest.raises(InputError, match=r"\.".join(path)):
        check_same_run(CONFIG, changed(*path, value={"decay": 0.9} if path[-1] == "ema" else "other"))


def test_flags_may_stand_anywhere():
    assert flags_first(["a=1", "-m", "b=2"]) == ["-m", "a=1", "b=2"]
    assert flags_first(["a=1", "--cfg", "job"]) == ["--cfg", "job", "a=1"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model=lenett", ["lenett", "convnet"]),
        ("modle=lenet", ["did you mean model"]),
        ("optimizer.rate=1", ["optimizer.rate does not exist", "lr"]),
        ("data.batch_size=[1", ["[1"]),
    ],
)
def test_what_hydra_refuses_is_one_line_with_the_valid_ones(override, expected):
    with pytest.raises(Exception) as error:
        load_config([override])
    line = error_line(error.value)
    assert "\n" not in line
    assert "Config search path" not in line
    assert all(part in line for part in expected)
