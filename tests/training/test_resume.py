"""A run that is interrupted and resumed ends as if it had never stopped."""

import csv
import shutil
from copy import deepcopy
from pathlib import Path

import pytest

from src.cli.error_line import CommandExit
from src.errors import InputError
from src.model_files.checkpoint import read_checkpoint
from src.training.fit import train
from src.training.resume import check_same_run
from tests.training.sessions import Interrupt, assert_equal, run, small_config, weights

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


@pytest.mark.parametrize("ema", [True, False])
@pytest.mark.parametrize(("epoch", "batch"), [(1, 0), (1, 5), (0, 3), (2, None), (1, 9)])
def test_an_interrupted_and_resumed_run_ends_bit_equal(data_root, tmp_path, epoch, batch, ema):
    run(data_root, tmp_path / "a", ema=ema)
    with pytest.raises(CommandExit, match=r"resume with: .* resume_from=") as stop:
        run(data_root, tmp_path / "b", callbacks=(Interrupt(epoch, batch),), ema=ema)
    assert stop.value.status == 130
    last = tmp_path / "b/checkpoints/last.ckpt"
    run(data_root, tmp_path / "b", f"resume_from={last}", ema=ema)
    assert_equal(weights(last), weights(tmp_path / "a/checkpoints/last.ckpt"))
    if batch is not None:  # metrics of an epoch that was cut within validation are measured afresh
        ours, theirs = read_checkpoint(last), read_checkpoint(tmp_path / "a/checkpoints/last.ckpt")
        assert ours["callbacks"]["checkpoints"] == theirs["callbacks"]["checkpoints"]
        assert ours["lr_schedulers"] == theirs["lr_schedulers"]


def test_more_epochs_can_be_added(whole, data_root, tmp_path):
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    last = tmp_path / "checkpoints/last.ckpt"
    run(data_root, tmp_path, "trainer.max_epochs=5", f"resume_from={last}", ema=True)
    assert read_checkpoint(last)["epoch"] == 4
    with (tmp_path / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3", "4", "5"]


def test_a_resumed_run_keeps_its_network(whole, data_root, tmp_path):
    with pytest.raises(InputError, match=r"model\.dropout is 0\.2, not 0\.1"):
        run(data_root, tmp_path, f"resume_from={whole}/checkpoints/last.ckpt", "model.dropout=0.1", ema=True)


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
        ("trainer", "accumulate_grad_batches"),
        ("trainer", "gradient_clip_val"),
        ("trainer", "limit_train_batches"),
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


def contents(folder: Path) -> dict:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["trainer.max_steps=7"],
        ["callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=0", "optimizer.lr=1e-9"],
        ["trainer.max_epochs=1", "callbacks=[default,ema]"],
    ],
)
def test_a_run_that_has_ended_is_left_alone_and_says_so(data_root, tmp_path, words, caplog):
    words = ["test=false", "figures=false", *words]
    cfg = small_config(data_root, tmp_path, *words)
    score = train(cfg)
    before = contents(tmp_path)
    again = small_config(data_root, tmp_path, *words, f"resume_from={tmp_path}/checkpoints/last.ckpt")
    with caplog.at_level("INFO"):
        assert train(again) == score
    assert "nothing is left to do" in caplog.text
    assert contents(tmp_path) == before


def test_early_stopping_is_remembered_until_it_is_given_more_patience(data_root, tmp_path):
    stopping = ["callbacks=[default,early_stopping]", "optimizer.lr=1e-9", "callbacks.early_stopping.min_delta=1"]
    words, last = ["trainer.max_epochs=4", *stopping], tmp_path / "b/checkpoints/last.ckpt"
    patient = run(data_root, tmp_path / "a", *words, "callbacks.early_stopping.patience=2").trainer.global_step
    stopped = run(data_root, tmp_path / "b", *words, "callbacks.early_stopping.patience=1").trainer.global_step
    assert stopped < patient
    for more in ("callbacks.early_stopping.patience=1", "trainer.max_epochs=9"):  # its results may have been lost
        again = ["callbacks.early_stopping.patience=1", more, f"resume_from={last}"]
        assert run(data_root, tmp_path / "b", *words, *again).trainer.global_step == stopped
    again = ["callbacks.early_stopping.patience=2", f"resume_from={last}"]
    assert run(data_root, tmp_path / "b", *words, *again).trainer.global_step == patient
    assert_equal(weights(last), weights(tmp_path / "a/checkpoints/last.ckpt"))
