"""best.ckpt and last.ckpt."""

import csv
import zipfile

import pytest
import torch
from lightning.pytorch import Trainer

from src.data.info import DataInfo
from src.model_files.checkpoint import load_model, read_checkpoint
from src.models.lenet import LeNet
from src.training import results
from src.training.checkpoints import Checkpoints
from src.training.task import Classifier
from tests.training.sessions import run


def test_last_is_the_last_epoch_and_best_the_best(whole):
    last, best = (read_checkpoint(whole / f"checkpoints/{name}.ckpt") for name in ("last", "best"))
    assert last["epoch"] == 2
    with (whole / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["val/acc"]) for row in rows]
    assert best["callbacks"]["checkpoints"]["best_score"] == pytest.approx(max(scores), abs=1e-6)
    assert best["epoch"] == scores.index(max(scores))
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_a_checkpoint_holds_plain_values_and_its_digest(whole):
    path = whole / "checkpoints/best.ckpt"
    assert torch.load(path, weights_only=True)["facts"]["class_names"][0] == "o"
    with zipfile.ZipFile(path) as archive:
        assert archive.comment.startswith(b"sha256:")


def test_the_best_score_survives_a_resume(tmp_path, small_kmnist):
    """A later, worse epoch must not become the best because the run was stopped in between."""
    checkpoints = Checkpoints(str(tmp_path))
    checkpoints.best.touch()
    checkpoints.load_state_dict({"best_score": 0.9, "best_epoch": 3, "best_metrics": {}})
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.datamodule = small_kmnist
    info = DataInfo((1, 28, 28), tuple("0123456789"), (0.1,), (0.3,))
    checkpoints.on_fit_start(trainer, Classifier(LeNet((1, 28, 28), 10), info))
    assert (checkpoints.monitor, checkpoints.best_score, checkpoints.best_epoch) == ("val/acc", 0.9, 3)


@pytest.mark.parametrize(
    ("words", "reused"),
    [
        ([], True),
        (["callbacks=[default,ema]", "callbacks.ema.decay=0.9"], True),
        (["trainer.val_check_interval=0.5", "callbacks.checkpoints.choose=last"], True),
        (["trainer.limit_val_batches=1", "data.eval_batch_size=20"], False),
        (["views=5"], False),
        (["trainer.precision=64-true"], False),
    ],
)
def test_the_temperature_takes_the_validation_of_the_chosen_epoch(words, reused, data_root, tmp_path, monkeypatch):
    """Where that is what the saved checkpoint predicts; a resumed run, which has only that, must end in the same."""
    session = run(data_root, tmp_path, *words)
    path, loader = session.checkpoints.best, session.data.val_dataloader()
    expected, called = results.predict(load_model(path), loader), []
    monkeypatch.setattr(results, "predict", lambda *args: called.append(1) or expected)
    for ours, theirs in zip(results._validation_predictions(session, load_model(path), path), expected, strict=True):
        assert torch.equal(ours, theirs)
    assert bool(called) != reused
