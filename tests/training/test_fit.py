"""From a config to a tested network, in the order of the tutorials: read this file first."""

import csv
import json
import math
from types import SimpleNamespace

import pytest
import torch

from src.cli.config import load_config
from src.evaluation.evaluate import compute_metrics, predict
from src.model_files.checkpoint import load_model, read_checkpoint
from src.training.build import build
from src.training.fit import fit, next_steps
from src.training.losses import DivergedError
from src.training.results import write_results
from tests.training.sessions import Poison, assert_equal, run, weights

PLAIN = ["task.mixup=0", "task.cutmix=0", "trainer.max_epochs=12"]


def test_a_config_is_built_fitted_and_tested(data_root, tmp_path):
    # 1. Any command line of `python -m src.train` is a config.
    words = ["model=mlp", "data=kmnist", f"data.root={data_root}", "data.val=50", "trainer.max_epochs=2", "logger=csv"]
    cfg = load_config(words, output_dir=tmp_path)
    # 2. Data, network, task and trainer.
    session = build(cfg)
    assert len(session.data.train_set) + len(session.data.val_set) == 200
    assert session.initial.model(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    assert list(tmp_path.iterdir()) == [], "nothing is written yet"
    # 3. Train, then test the best epoch once.
    fit(session)
    results = write_results(session)
    assert (tmp_path / "checkpoints/best.ckpt").is_file()
    assert results["epochs"] == 2
    assert results["test"]["images"] == 60
    assert json.loads((tmp_path / "results.json").read_text()) == results
    # 4. The checkpoint is a network that takes raw grey levels.
    net = load_model(tmp_path / "checkpoints/best.ckpt")
    images, labels = next(iter(session.data.test_dataloader()))
    with torch.inference_mode():
        assert torch.allclose(net.probs(images).sum(1), torch.ones(60))
    assert float((net(images).argmax(1) == labels).float().mean()) == pytest.approx(results["test"]["acc"])


def test_it_learns(data_root, tmp_path):
    session = run(data_root, tmp_path, *PLAIN)
    net = load_model(tmp_path / "checkpoints/best.ckpt")
    logits, labels = predict(net, session.data.test_dataloader())
    assert compute_metrics(logits, labels, net.info)["acc"] > 0.8


def test_the_same_seed_gives_the_same_weights(whole, data_root, tmp_path):
    run(data_root, tmp_path, ema=True)
    assert_equal(weights(tmp_path / "checkpoints/last.ckpt"), weights(whole / "checkpoints/last.ckpt"))
    run(data_root, tmp_path / "other", "seed=1", ema=True)
    other = weights(tmp_path / "other/checkpoints/last.ckpt")
    assert any(not torch.equal(value, other[key]) for key, value in weights(whole / "checkpoints/last.ckpt").items())


def test_metrics_csv_has_a_row_per_epoch_and_every_metric(whole):
    with (whole / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    expected = {f"val/{name}" for name in ("acc", "precision", "recall", "f1", "top2", "ece", "loss")}
    expected |= {"train/loss", "train/acc", "train/images_per_s", "train/lr", "epoch", "step"}
    assert set(rows[0]) == expected
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())


def test_a_loaded_model_gives_what_validation_measured(whole, data_root, tmp_path):
    net = load_model(whole / "checkpoints/best.ckpt")
    data = build(load_config(["data=kmnist", f"data.root={data_root}", "data.val=50"], output_dir=tmp_path)).data
    logits, labels = predict(net, data.val_dataloader())
    saved = read_checkpoint(whole / "checkpoints/best.ckpt")["callbacks"]["checkpoints"]["best_score"]
    assert compute_metrics(logits, labels, net.info)["acc"] == pytest.approx(saved, abs=1e-6)
    assert not net.training
    assert net.epoch == read_checkpoint(whole / "checkpoints/best.ckpt")["epoch"] + 1


def test_a_loss_that_is_not_finite_ends_training_and_keeps_the_last_weights(data_root, tmp_path):
    run(data_root, tmp_path, "trainer.max_epochs=1")
    last = tmp_path / "checkpoints/last.ckpt"
    before = last.read_bytes()
    with pytest.raises(DivergedError, match=r"the loss is (nan|inf).*epoch 2.*optimizer\.lr"):
        run(data_root, tmp_path, f"resume_from={last}", callbacks=(Poison(),))
    assert last.read_bytes() == before


def test_a_session_without_checkpoints_has_no_results(data_root, tmp_path):
    session = run(data_root, tmp_path, "trainer.enable_checkpointing=false", "trainer.max_epochs=1")
    with pytest.raises(ValueError, match="enable_checkpointing"):
        write_results(session)


@pytest.mark.parametrize(
    ("data", "shape", "word"),
    [
        ({"name": "mnist"}, (1, 28, 28), "draw"),
        ({"name": "digits"}, (1, 8, 8), "draw"),
        ({"name": "folder", "ink": "mnist"}, (1, 28, 28), "draw"),
        ({"name": "feedback", "mix": {"name": "mnist"}}, (1, 28, 28), "draw"),
        ({"name": "folder"}, (3, 64, 64), "serve"),
        ({"name": "feedback", "mix": {"name": "folder"}}, (3, 64, 64), "serve"),
        ({"name": "fashion"}, (1, 28, 28), "serve"),
    ],
)
def test_what_to_type_next_fits_the_network(tmp_path, data, shape, word):
    session = SimpleNamespace(
        folder=tmp_path, config={"trust": None, "data": data}, seconds=1.0, trainer=SimpleNamespace(loggers=[]),
        data=SimpleNamespace(info=SimpleNamespace(shape=shape)),
    )  # fmt: skip
    *_, line = next_steps(session).splitlines()
    assert line.split()[:2] == [word, "python"]
    assert line.index("python") == 12
