"""The learning-rate range test: its suggestion, its end, its files."""

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from src.data.augment import Identity
from src.data.datamodule import ImageData
from src.errors import InputError
from src.finetune.closed_form import Ridge
from src.finetune.method import Full
from src.training.callbacks import NoProfiler
from src.training.losses import MeanSquaredError
from src.training.lr_range import RateRange, smoothed, suggest
from src.training.schedules import onecycle
from src.training.task import Classifier
from tests.commands import run
from tests.short_runs import LAYERS, events, train

pytestmark = pytest.mark.filterwarnings("ignore:.*returned `None`.*")  # a closed-form head makes no steps
DIGITS = ["data=digits", "threads=1", "trainer.accelerator=cpu"]


class LinearRegression(nn.Module):
    """One number, linear in the pixels: with a squared error, the loss is quadratic."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1))


def test_the_rate_suggested_for_a_quadratic_descends():
    """Gradient descent on a x^2 / 2 diverges above 2 / a, and is fastest at 1 / a."""
    curvature, x = 5.0, 1.0
    rates = 1e-4 * (1e5 ** (np.arange(200) / 199))
    losses = []
    for rate in rates:
        losses.append(min(curvature * x * x / 2 + 0.01, 1e6))
        x = float(np.clip(x - rate * curvature * x, -1e3, 1e3))
    found = suggest(rates, np.array(losses))
    assert 0.001 < found.steepest < found.lowest <= 2 / curvature
    assert (found.rate, found.peak) == pytest.approx((found.lowest / 10, found.lowest / 3), rel=0.06)


def test_smoothing_preserves_constants_lines_and_minima():
    assert smoothed(np.full(200, 3.0)) == pytest.approx(np.full(200, 3.0))
    line = np.arange(200.0)
    assert smoothed(line)[20:-20] == pytest.approx(line[20:-20])
    valley = np.abs(line - 80)
    assert smoothed(valley).argmin() == 80


def test_no_rate_is_suggested_without_a_fall():
    rates = np.logspace(-5, 0, 50)
    assert suggest(rates[:10], np.ones(10)) is None
    assert suggest(rates, np.linspace(1, 2, 50)) is None
    assert suggest(rates, np.full(50, np.nan)) is None
    assert suggest(rates, np.linspace(2.303, 2.302, 50)) is None, "flat"
    exploded = np.concatenate([[2.3], np.full(10, 1e16), np.linspace(1e15, 1e14, 39)])
    assert suggest(rates, exploded) is None, "fell only after exploding"


def range_test(root: Path, folder: Path, steps: int = 120, flags: dict | None = None, **options) -> RateRange:
    data = ImageData("kmnist", root=str(root), download=False, val=50, batch_size=32, target="angle")
    data.setup()
    torch.manual_seed(0)
    defaults = {"loss": MeanSquaredError(), "optimizer": lambda groups: torch.optim.SGD(groups, lr=0.123)}
    task = Classifier(LinearRegression(), data.info, **{**defaults, "scheduler": onecycle, **options})
    test = RateRange(str(folder), low=1e-6, high=1e2)
    trainer = Trainer(
        max_epochs=-1,
        max_steps=steps,
        accelerator="cpu",
        callbacks=[test],
        limit_val_batches=0,
        logger=TensorBoardLogger(str(folder), name="", version="", default_hp_metric=False),
        profiler=NoProfiler(),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=7,
        **(flags or {}),
    )
    trainer.fit(task, data)
    return test


@pytest.mark.parametrize("flags", [{}, {"accumulate_grad_batches": 2}])
def test_a_range_test_ends_where_the_loss_explodes(data_root, tmp_path, flags):
    test = range_test(data_root, tmp_path, flags=flags)
    assert test.exploded
    assert 20 < len(test.losses) < 120
    found = suggest(np.array(test.rates), np.array(test.losses))
    assert found.rate * 10 == pytest.approx(found.lowest, rel=0.06)
    # Gradient descent on a quadratic is stable below 2 over its largest curvature.
    data = ImageData("kmnist", root=str(data_root), download=False, val=50, target="angle")
    data.setup()
    images = data.normalize(data.train_set[torch.arange(len(data.train_set))][0]).flatten(1).double()
    edge = 2 / float(torch.linalg.eigvalsh(2 * images.T @ images / len(images))[-1])
    assert edge / 100 < found.rate < found.peak < edge
    with (tmp_path / "lr_range.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == pytest.approx(test.losses, rel=1e-4)
    assert np.diff(np.log([float(row["lr"]) for row in rows])) == pytest.approx(np.log(1e8) / 119, rel=1e-3)
    assert (tmp_path / "figures/lr_range.png").is_file()
    assert sorted(path.name for path in tmp_path.glob("**/*.ckpt")) == []
    logged = events(tmp_path)
    assert [point.value for point in logged.Scalars("lr_range/loss")] == pytest.approx(test.losses, rel=1e-5)
    assert "lr_range/curve" in logged.Tags()["images"]
    again = range_test(data_root, tmp_path / "again", flags=flags)
    assert again.losses == test.losses


def test_a_nan_loss_ends_a_range_test_without_an_error(data_root, tmp_path):
    class BrittleSquaredError(MeanSquaredError):
        def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
            loss = super().forward(logits, labels)
            return loss * float("nan") if loss > 30 else loss

    test = range_test(data_root, tmp_path, loss=BrittleSquaredError())
    assert test.exploded
    assert not np.isfinite(test.losses[-1])
    assert "exploded" in test.summary(suggest(np.array(test.rates), np.array(test.losses)))


def test_parameter_groups_keep_the_ratios_of_their_rates(data_root, tmp_path):
    rates_of_steps = []

    class RecordRates(RateRange):
        def on_before_optimizer_step(self, trainer, task, optimizer):
            rates_of_steps.append([group["lr"] for group in optimizer.param_groups])

    options = {"optimizer": partial(torch.optim.SGD, lr=0.1), "method": Full(layer_decay=0.5)}
    test = RecordRates(str(tmp_path), low=1e-4, high=1e-2)
    train(data_root, tmp_path, test, **options)
    assert len(rates_of_steps) == len(test.rates) == 10
    assert (test.rates[0], test.rates[-1]) == pytest.approx((1e-4, 1e-2))
    assert len(set(rates_of_steps[0])) == len(LAYERS)
    for rates, rate in zip(rates_of_steps, test.rates, strict=True):
        assert sorted(set(rates)) == pytest.approx([rate * 0.5**depth for depth in (4, 3, 2, 1, 0)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0}, r"lr_range\.low=0"),
        ({"low": 1.0, "high": 0.1}, r"lr_range\.low=1\.0: below high, which is 0\.1"),
        ({"stop": 1}, r"lr_range\.stop=1"),
    ],
)
def test_an_empty_range_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        RateRange("x", **options)


def test_a_method_without_steps_is_refused(data_root, tmp_path):
    with pytest.raises(InputError, match="has none: give another finetune"):
        train(data_root, tmp_path, RateRange(str(tmp_path)), method=Ridge(), augment=Identity())


@pytest.mark.slow
def test_the_command_writes_the_curve_and_suggests_a_rate(tmp_path):
    done = run(
        "src.train", *DIGITS, f"hydra.run.dir={tmp_path}", "experiment=lr_range", "optimizer=sgd", "data.batch_size=32"
    )
    assert done.returncode == 0, done.stderr
    assert "suggested optimizer.lr=" in done.stdout
    assert not list(tmp_path.glob("**/*.ckpt"))
    assert (tmp_path / "lr_range.csv").is_file()
    assert (tmp_path / "figures/lr_range.png").is_file()
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "finished"
