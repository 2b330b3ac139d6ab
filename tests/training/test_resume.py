"""A run that is interrupted and resumed ends as if it had never stopped."""

import csv
import json
import shutil
import signal
from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import Callback

from src.cli.error_line import CommandExit
from src.errors import InputError
from src.model_files.checkpoint import read_checkpoint, write_checkpoint
from src.training.fit import train
from src.training.resume import check_same_run
from tests.training.sessions import Signal, assert_equal, make_session, run, small_config, state, weights

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


HOOKS = [  # where a signal lands: 10 batches, 4 of validation and 3 epochs
    ("on_train_batch_start", 10), ("on_train_batch_start", 15), ("on_train_batch_start", 3), ("on_after_backward", 14),
    ("on_before_optimizer_step", 6), ("on_before_zero_grad", 7), ("on_train_batch_end", 12), ("on_train_batch_end", 9),
    ("on_train_batch_end", 19), ("on_validation_start", 1), ("on_validation_batch_start", 2), ("on_validation_end", 0),
    ("on_train_epoch_end", 1), ("on_save_checkpoint", 1), ("on_train_epoch_start", 0), ("on_train_epoch_end", 2),
]  # fmt: skip
VARIANTS = {
    "plain": [],
    "ema": ["callbacks=[default,ema]", "callbacks.ema.decay=0.9"],
    "accumulate": ["trainer.accumulate_grad_batches=3", "scheduler=step", "scheduler.epochs=1"],
    "plateau": [
        "scheduler=plateau",
        "scheduler.patience=0",
        "scheduler.factor=0.5",
        "optimizer=sgd",
        "trainer.val_check_interval=0.5",
    ],
    "stopping": ["callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=1", "optimizer=muon"],
}


@pytest.fixture(scope="session")
def uninterrupted(data_root, tmp_path_factory):
    """Variant -> the state in which it ends when it is left alone, and what its epochs measured."""

    @cache
    def end(variant: str) -> tuple[dict, list]:
        folder = tmp_path_factory.mktemp(variant)
        run(data_root, folder, *VARIANTS[variant])
        return state(folder / "checkpoints/last.ckpt"), epochs(folder)

    return end


def epochs(folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv without speeds."""
    with (folder / "metrics.csv").open() as file:
        return [{key: value for key, value in row.items() if "per_s" not in key} for row in csv.DictReader(file)]


EVERYWHERE = ("accumulate", "ema")  # the other variants meet a third of the moments
MOMENTS = [
    (variant, *moment)
    for number, variant in enumerate(VARIANTS)
    for moment in (HOOKS if variant in EVERYWHERE else HOOKS[number % 3 :: 3])
]


@pytest.mark.parametrize(("variant", "hook", "call"), MOMENTS)
def test_a_signal_anywhere_in_a_step_leaves_a_run_that_ends_bit_equal(
    data_root, tmp_path, uninterrupted, hook, call, variant
):
    signum = signal.SIGTERM if call % 2 else signal.SIGINT
    with pytest.raises(CommandExit, match=r"resume with: .* resume_from=") as stop:
        run(data_root, tmp_path, *VARIANTS[variant], callbacks=(Signal(hook, call, signum),))
    assert stop.value.status == 128 + signum
    last = tmp_path / "checkpoints/last.ckpt"
    run(data_root, tmp_path, *VARIANTS[variant], f"resume_from={last}")
    weights, measured = uninterrupted(variant)
    assert_equal(state(last), weights)
    assert epochs(tmp_path) == measured


@pytest.mark.parametrize("batch", [1, 4, 9])
def test_a_solved_head_takes_every_batch_of_an_epoch_that_was_stopped(whole, data_root, tmp_path, batch):
    words = [f"init_from={whole}/checkpoints/best.ckpt", "finetune=ridge", "trainer.max_epochs=1", "model.dropout=0"]
    words += ["task.mixup=0", "task.cutmix=0"]
    run(data_root, tmp_path / "a", *words)
    with pytest.raises(CommandExit):
        run(data_root, tmp_path / "b", *words, callbacks=(Signal("on_train_batch_end", batch - 1),))
    last = tmp_path / "b/checkpoints/last.ckpt"
    run(data_root, tmp_path / "b", *words, *([f"resume_from={last}"] if last.is_file() else []))
    assert_equal(weights(last), weights(tmp_path / "a/checkpoints/last.ckpt"))
    assert epochs(tmp_path / "a") == epochs(tmp_path / "b")


def test_a_run_may_be_stopped_twice(data_root, tmp_path, uninterrupted):
    last, resumed = tmp_path / "checkpoints/last.ckpt", []
    for hook, call in (("on_train_batch_start", 13), ("on_train_batch_end", 1), ("on_train_epoch_end", 0)):
        with pytest.raises(CommandExit):
            run(data_root, tmp_path, *VARIANTS["ema"], *resumed, callbacks=(Signal(hook, call),))
        resumed = [f"resume_from={last}"]
    run(data_root, tmp_path, *VARIANTS["ema"], *resumed)
    assert_equal(state(last), uninterrupted("ema")[0])
    assert epochs(tmp_path) == uninterrupted("ema")[1]


def test_a_second_signal_ends_at_once_and_keeps_the_last_whole_checkpoint(data_root, tmp_path, uninterrupted):
    twice = (Signal("on_after_backward", 14), Signal("on_before_optimizer_step", 14))
    with pytest.raises(CommandExit, match=r"resume with: ") as stop:
        run(data_root, tmp_path, *VARIANTS["ema"], callbacks=twice)
    last = tmp_path / "checkpoints/last.ckpt"
    assert stop.value.status == 130
    assert read_checkpoint(last)["epoch"] == 0, "that of the last whole epoch"
    run(data_root, tmp_path, *VARIANTS["ema"], f"resume_from={last}")
    assert_equal(state(last), uninterrupted("ema")[0])


def test_an_epoch_of_which_no_batch_is_left_is_resumed(data_root, tmp_path, uninterrupted):
    class Save(Callback):
        def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
            if trainer.current_epoch == 1 and trainer.is_last_batch:
                trainer.save_checkpoint(tmp_path / "end.ckpt", weights_only=False)

    run(data_root, tmp_path / "a", "trainer.enable_progress_bar=true", callbacks=(Save(),))
    run(data_root, tmp_path / "b", "trainer.enable_progress_bar=true", f"resume_from={tmp_path}/end.ckpt")
    assert read_checkpoint(tmp_path / "b/checkpoints/last.ckpt")["epoch"] == 2


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


def test_a_run_from_before_an_option_had_what_is_its_default():
    check_same_run(CONFIG, changed("augment", "fill", value="background"))
    with pytest.raises(InputError, match=r"augment\.fill is None, not mean"):
        check_same_run(CONFIG, changed("augment", "fill", value="mean"))
    with pytest.raises(InputError, match=r"augment\.rotate_deg is None, not 3"):
        check_same_run(CONFIG, changed("augment", "rotate_deg", value=3))


def test_a_run_from_before_an_option_has_ended_too(data_root, tmp_path, caplog):
    words = ["test=false", "figures=false", "trainer.max_epochs=1"]
    train(small_config(data_root, tmp_path, *words))
    last = tmp_path / "checkpoints/last.ckpt"
    content = read_checkpoint(last)
    del content["config"]["augment"]["fill"]
    write_checkpoint({key: value for key, value in content.items() if key != "digest"}, last)
    with caplog.at_level("INFO"):
        train(small_config(data_root, tmp_path, *words, f"resume_from={last}"))
    assert "nothing is left to do" in caplog.text


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


def test_a_run_that_has_ended_may_have_moved(data_root, tmp_path):
    words = ["test=false", "figures=false"]
    train(small_config(data_root, tmp_path / "before", *words))
    (tmp_path / "before").rename(tmp_path / "after")
    before = contents(tmp_path)
    train(small_config(data_root, tmp_path / "after", *words, f"resume_from={tmp_path}/after"))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("limit", ["max_epochs=2", "max_epochs=3", "max_steps=5"])
def test_a_limit_that_was_reached_before_ends_nothing_anew(data_root, tmp_path, limit):
    words = ["test=false", "figures=false"]
    train(small_config(data_root, tmp_path, *words))
    before = contents(tmp_path)
    last = f"resume_from={tmp_path}/checkpoints/last.ckpt"
    train(small_config(data_root, tmp_path, *words, f"trainer.{limit}", last))
    assert contents(tmp_path) == before
    train(small_config(data_root, tmp_path, *words, "trainer.max_epochs=4", last))
    assert json.loads((tmp_path / "results.json").read_text())["epochs"] == 4


def test_a_run_cut_within_an_epoch_has_not_reached_its_epochs(data_root, tmp_path):
    words = ["test=false", "figures=false"]
    train(small_config(data_root, tmp_path, *words, "trainer.max_steps=25"))  # of 30, in the third epoch of three
    last = f"resume_from={tmp_path}/checkpoints/last.ckpt"
    train(small_config(data_root, tmp_path, *words, "trainer.max_steps=-1", last))
    assert json.loads((tmp_path / "results.json").read_text())["steps"] == 30


def test_rows_that_metrics_csv_lost_are_told(data_root, tmp_path, caplog):
    run(data_root, tmp_path)
    table, words = tmp_path / "metrics.csv", [f"resume_from={tmp_path}/checkpoints/last.ckpt", "trainer.max_epochs=4"]
    head, *rows = table.read_text().splitlines(keepends=True)
    table.write_text(head + rows[2])
    make_session(data_root, tmp_path, *words)
    assert "metrics.csv has no row of epochs 1 to 2 (2 in all)" in caplog.text
    table.write_text(head + "".join(rows)[:-20])
    with pytest.raises(InputError, match=r"metrics\.csv is damaged"):
        make_session(data_root, tmp_path, *words)


def test_a_best_checkpoint_that_is_damaged_or_gone_is_told_before_training(data_root, tmp_path, caplog):
    run(data_root, tmp_path)
    best = tmp_path / "checkpoints/best.ckpt"
    best.write_bytes(best.read_bytes()[:-9])
    words = [f"resume_from={tmp_path}/checkpoints/last.ckpt", "trainer.max_epochs=4"]
    with pytest.raises(InputError, match=r"best\.ckpt .* move it away"):
        make_session(data_root, tmp_path, *words)
    best.unlink()
    session = run(data_root, tmp_path, *words)
    assert "best.ckpt is gone" in caplog.text
    assert session.checkpoints.best_epoch == 4 and read_checkpoint(best)["epoch"] == 3


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


@pytest.mark.parametrize("stage", ["predict", "compute_metrics", "_log_final_metrics", "write_json"])
def test_a_run_stopped_in_its_final_test_says_what_finishes_it(data_root, tmp_path, stage, monkeypatch):
    words = ["figures=false", "trainer.max_epochs=1"]
    train(small_config(data_root, tmp_path / "whole", *words))

    def ctrl_c(*args, **kwargs):
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(f"src.training.results.{stage}", ctrl_c)
        with pytest.raises(CommandExit, match=r"before its results were written; finish with: .* resume_from=") as stop:
            train(small_config(data_root, tmp_path / "cut", *words), [])
    assert stop.value.status == 130
    assert not (tmp_path / "cut/results.json").exists()
    train(small_config(data_root, tmp_path / "cut", *words, f"resume_from={tmp_path}/cut"), [])
    whole, cut = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "cut"))
    assert (cut["test"], cut["temperature"], cut["steps"]) == (whole["test"], whole["temperature"], whole["steps"])


def test_a_kill_after_the_last_checkpoint_keeps_what_the_epoch_measured(data_root, tmp_path, uninterrupted):
    """The checkpoint that says that an epoch is done is written after its row of metrics.csv."""

    class Watch(Callback):
        rows: tuple = ()

        def on_save_checkpoint(self, trainer, task, checkpoint):
            if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch and not trainer.validating:
                self.rows += (epochs(tmp_path)[-1],)

    watch = Watch()
    run(data_root, tmp_path, *VARIANTS["plain"], callbacks=(watch,))
    at_the_end = [row for row in watch.rows if row["train/loss"]]
    assert at_the_end[-3:] == uninterrupted("plain")[1]
