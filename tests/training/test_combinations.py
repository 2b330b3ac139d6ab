"""Every pair of optimizer, schedule, callback, precision, accumulation and clipping trains, or is refused at once."""

import errno
from itertools import combinations, product

import pytest
import torch
from lightning.pytorch.callbacks import Callback, Timer

from src.errors import InputError
from src.training.trainer_state import callbacks_of
from tests.training.sessions import make_session, run

FACTORS = {
    "optimizer": [
        ["optimizer=adamw"],
        ["optimizer=sgd"],
        ["optimizer=muon"],
        ["optimizer=adam"],
        ["optimizer=rmsprop"],
    ],
    "scheduler": [[f"scheduler={name}"] for name in ("onecycle", "cosine", "constant", "step", "plateau")],
    "callbacks": [[f"callbacks=[default{more}]"] for more in ("", ",ema", ",early_stopping", ",ema,early_stopping")],
    "precision": [[f"trainer.precision={p}"] for p in ("32-true", "bf16-mixed", "bf16-true", "64-true")],
    "accumulation": [[], ["trainer.accumulate_grad_batches=3"]],
    "clipping": [
        [],
        ["trainer.gradient_clip_val=1"],
        ["trainer.gradient_clip_val=0.1", "trainer.gradient_clip_algorithm=value"],
    ],
    "validation": [
        [],
        ["trainer.check_val_every_n_epoch=2"],
        ["trainer.val_check_interval=0.5"],
        ["trainer.limit_val_batches=0"],
    ],
    "mixing": [["task.mixup=0", "task.cutmix=0"], ["task.mixup=0.2"]],
}


def pairs_of(row: dict[str, int]) -> set[frozenset]:
    return set(map(frozenset, combinations(row.items(), 2)))


def covering_rows() -> list[dict[str, int]]:
    """Choices, a value of each factor a row, so that every pair of values of two factors is in some row; greedy."""
    left = {
        frozenset([(a, i), (b, j)])
        for a, b in combinations(FACTORS, 2)
        for i, j in product(range(len(FACTORS[a])), range(len(FACTORS[b])))
    }
    rows = []
    while left:
        row = dict(min(map(sorted, left)))
        for name in (name for name in FACTORS if name not in row):
            options = range(len(FACTORS[name]))
            row[name] = max(options, key=lambda k: len(left & pairs_of({**row, name: k})))
        rows.append(row)
        left -= pairs_of(row)
    return rows


ROWS = covering_rows()


class Steps(Callback):
    """Counts batches that were begun."""

    begun = 0

    def on_train_batch_start(self, *args):
        self.begun += 1


def refusal(words: str) -> str | None:
    """The key that the error has to name, for the rows that cannot train."""
    if "ema" in words and "bf16-true" in words:
        return "callbacks.ema"
    if "limit_val_batches=0" in words:
        if "early_stopping" in words:
            return "callbacks.early_stopping.monitor=val/loss"
        if "plateau" in words:
            return "scheduler.monitor=val/loss"
    return None


def test_every_pair_is_in_a_row():
    wanted = sum(len(FACTORS[a]) * len(FACTORS[b]) for a, b in combinations(FACTORS, 2))
    assert len(set().union(*map(pairs_of, ROWS))) == wanted


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(map(str, row.values())))
def test_it_trains_two_epochs_or_is_refused_before_the_first_step(data_root, tmp_path, row):
    words = [word for name, index in row.items() for word in FACTORS[name][index]]
    steps, expected = Steps(), refusal(" ".join(words))
    common = ["data.batch_size=32", "trainer.max_epochs=2", "model.batch_norm=false"]
    if expected:
        with pytest.raises(InputError) as error:
            run(data_root, tmp_path, *common, *words, callbacks=(steps,))
        assert expected in str(error.value) and steps.begun == 0
        return
    session = run(data_root, tmp_path, *common, *words, callbacks=(steps,))
    assert steps.begun == 10, "two epochs"
    parameters = list(session.task.model.parameters())
    assert all(bool(torch.isfinite(p).all()) for p in parameters)
    losses = session.task.latest["train/loss"]
    assert 0 < losses < 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["trainer.limit_train_batches=0.01"],
            "trainer.limit_train_batches=0.01 of 10 batches is none: give 0.1",
        ),
        (["trainer.overfit_batches=0.01"], "trainer.overfit_batches=0.01 of 10 batches is none"),
        (["trainer.limit_val_batches=0.01"], "trainer.limit_val_batches=0.01 of 1 batch is none"),
        (["trainer.val_check_interval=0.01"], "trainer.val_check_interval=0.01 of 10 batches is none"),
        (["trainer.val_check_interval=11"], "trainer.val_check_interval=11: an epoch has 10 batches; give at most 10"),
        (["trainer.max_time=soon"], "trainer.max_time=soon: seconds, or"),
        (["trainer.max_time=0"], "trainer.max_time=0: seconds, or"),
        (["trainer.precision=16-mixed"], "trainer: lightning.pytorch.Trainer refused its arguments"),
    ],
)
def test_limits_that_leave_nothing_are_refused_in_one_line(data_root, tmp_path, words, message):
    steps = Steps()
    with pytest.raises(InputError) as error:
        run(data_root, tmp_path, "trainer.max_epochs=1", *words, callbacks=(steps,))
    assert str(error.value).startswith(message) and "\n" not in str(error.value) and steps.begun == 0


@pytest.mark.parametrize(("typed", "seconds"), [("1", 1), ("0.5", 0.5), ("'1:30'", 90), ("00:00:02:00", 120)])
def test_max_time_takes_seconds_and_clock_texts(data_root, tmp_path, typed, seconds):
    session = make_session(data_root, tmp_path, f"trainer.max_time={typed}")
    (timer,) = [callback for callback in callbacks_of(session.trainer) if isinstance(callback, Timer)]
    assert timer.time_remaining() == seconds


def test_a_full_disk_is_one_line_and_loses_nothing(data_root, tmp_path, monkeypatch):
    """As the system says it; a real one is tried in tests/test_train_command.py."""
    run(data_root, tmp_path, "trainer.max_epochs=1")
    before = (tmp_path / "checkpoints/last.ckpt").read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"is not written: No space left on device; .* resume with"):
        run(data_root, tmp_path, "trainer.max_epochs=2", f"resume_from={tmp_path}")
    assert (tmp_path / "checkpoints/last.ckpt").read_bytes() == before
    assert [path.name for path in (tmp_path / "checkpoints").iterdir() if path.suffix == ".part"] == []
