"""The learning-rate range test (Smith 2017, arXiv:1506.01186): the loss while the rate grows, and the rate to take."""

import csv
import io
import logging
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from src.errors import InputError, number, require
from src.files import write_text
from src.training.task import Classifier
from src.training.trainer_state import is_dry_run

MOMENTUM = 0.9  # of the running mean that detects an explosion
MIN_STEPS = 20  # fewer give no curve
MIN_DECREASE = 0.02  # of the first loss: a curve that falls less is flat
log = logging.getLogger(__name__)


class Suggestion(NamedTuple):
    """The learning rates that a range test suggests.

    lowest: the rate with the lowest smoothed loss; rate: a tenth of it, for a constant schedule; peak: a third of it,
    for a schedule that decays. steepest: the rate at which the loss falls fastest per decade; smooth: the smoothed
    losses; at_end: whether the lowest loss came with the last rate.
    """

    rate: float
    peak: float
    lowest: float
    steepest: float
    smooth: np.ndarray
    at_end: bool


def suggest(rates: np.ndarray, losses: np.ndarray) -> Suggestion | None:
    """The suggestion of a curve; None for fewer than 20 points, a decrease below 2 %, or one only after an explosion.

    rates: (N,), increasing; losses: (N,); the first one that is not finite ends the curve. Losses are smoothed over
    N/25 steps to either side: in a running mean the lowest point would come late.
    """
    finite = np.isfinite(losses)
    end = len(losses) if finite.all() else int(finite.argmin())
    rates, losses = rates[:end], losses[:end]
    if end < MIN_STEPS:
        return None
    smooth = smoothed(losses)
    slope = np.gradient(smooth, np.log10(rates))
    lowest = int(smooth.argmin())
    least = smooth[lowest]
    if lowest == 0 or least > smooth[0] - MIN_DECREASE * abs(smooth[0]) or (losses[0] > 0 and least > 2 * losses[0]):
        return None
    steepest = rates[int(slope[: lowest + 1].argmin())]
    rate, peak = (float(f"{rates[lowest] / divisor:.1e}") for divisor in (10, 3))
    return Suggestion(rate, peak, float(rates[lowest]), float(steepest), smooth, lowest == end - 1)


def smoothed(losses: np.ndarray) -> np.ndarray:
    """Losses (N,) convolved with a Gaussian of N/50 steps' standard deviation, renormalized at the ends."""
    width = max(1.0, len(losses) / 50)
    offsets = np.arange(-round(3 * width), round(3 * width) + 1)
    kernel = np.exp(-0.5 * (offsets / width) ** 2)
    weights = np.convolve(np.ones(len(losses)), kernel, "full")
    sums = np.convolve(losses, kernel, "full")
    cut = slice(len(offsets) // 2, len(offsets) // 2 + len(losses))
    return sums[cut] / weights[cut]


class RateRange(Callback):
    """Raise the rate from `low` to `high` by a constant factor per step, and end training when the loss explodes.

    Writes lr_range.csv and figures/lr_range.png to `folder` and logs the suggested rates. The config's schedule is
    ignored; parameter groups keep the ratios of their rates. stop: training ends when the running mean of the loss is
    this many times its minimum, or the loss is not finite.
    Raises InputError for an empty range, and at the start of training for a method without steps.
    """

    state_key = "lr_range"

    def __init__(self, folder: str, low: float = 1e-5, high: float = 10.0, stop: float = 4.0):
        number("callbacks.lr_range.low", low, above=0)
        number("callbacks.lr_range.high", high, above=0)
        number("callbacks.lr_range.stop", stop, above=1)
        require(low < high, f"callbacks.lr_range.low={low}: below high, which is {high}")
        self.folder, self.low, self.high, self.stop = Path(folder), low, high, stop
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.exploded = False
        self._ratios: list[float] = []
        self._steps, self._mean, self._least = 1, 0.0, math.inf
        self._batch_losses: list[float] = []  # of the running step

    def on_train_start(self, trainer: Trainer, task: Classifier) -> None:
        groups = trainer.optimizers[0].param_groups
        if not groups:
            raise InputError("a range test needs steps, and this fine-tuning method has none: give another finetune")
        base = trainer.optimizers[0].defaults["lr"]
        require(base > 0, "a range test needs optimizer.lr above 0; its size does not matter")
        # A schedule may have changed the rates already; initial_lr holds what it started from.
        self._ratios = [group.get("initial_lr", group["lr"]) / base for group in groups]
        self._steps = int(trainer.estimated_stepping_batches)
        trainer.strategy.lr_scheduler_configs = []

    def on_train_batch_start(self, trainer: Trainer, task: Classifier, batch: object, batch_idx: int) -> None:
        for group, ratio in zip(trainer.optimizers[0].param_groups, self._ratios, strict=True):
            group["lr"] = ratio * self.rate(trainer.global_step)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.low * (self.high / self.low) ** (step / max(1, self._steps - 1))

    def on_train_batch_end(self, trainer: Trainer, task: Classifier, outputs, batch, batch_idx: int) -> None:
        loss = trainer.strategy.reduce(outputs["loss"].float(), reduce_op="mean")
        self._batch_losses.append(float(loss) * trainer.accumulate_grad_batches)  # Lightning has divided it
        if trainer.global_step > len(self.rates):
            self.rates.append(self.rate(len(self.rates)))
            self.losses.append(sum(self._batch_losses) / len(self._batch_losses))
            self._batch_losses.clear()
            self._check_loss(trainer, task)

    def _check_loss(self, trainer: Trainer, task: Classifier) -> None:
        count, loss = len(self.losses), self.losses[-1]
        for logger in trainer.loggers:
            logger.log_metrics({"lr_range/loss": loss, "lr_range/lr": self.rates[-1]}, step=count)
        self._mean = MOMENTUM * self._mean + (1 - MOMENTUM) * loss
        running = self._mean / (1 - MOMENTUM**count)
        if count >= MIN_STEPS // 2:
            self._least = min(self._least, running)
        if not math.isfinite(loss) or running > self.stop * self._least:
            self.exploded = trainer.should_stop = True
            if not math.isfinite(loss):
                task.sums.unread.clear()  # the task would raise DivergedError; here it is the end of the range

    def on_exception(self, trainer: Trainer, task: Classifier, exception: BaseException) -> None:
        if isinstance(exception, SIGTERMException):  # of `StopBetweenSteps`: report the rates so far
            self.on_train_end(trainer, task)

    def on_train_end(self, trainer: Trainer, task: Classifier) -> None:
        if trainer.is_global_zero and self.losses:
            found = suggest(np.array(self.rates), np.array(self.losses))
            self._write(trainer, found)
            log.info("%s", self.summary(found))

    def summary(self, found: Suggestion | None) -> str:
        """The result as lines for a terminal."""
        tried = f"{len(self.losses)} steps, rates {self.rates[0]:.2g} to {self.rates[-1]:.2g}"
        ended = "the loss exploded there" if self.exploded else "the loss did not explode"
        if found is None:
            advice = "no rate can be suggested: "
            if len(self.losses) < MIN_STEPS:
                advice += f"it takes {MIN_STEPS} steps or more, raise trainer.max_steps"
            else:
                advice += "the loss did not fall: lower callbacks.lr_range.low, or raise callbacks.lr_range.high"
            return f"range test: {tried}; {ended}\n{advice}"
        lines = [
            f"range test: {tried}; {ended}",
            f"  falls fastest at       {found.steepest:.2g}",
            f"  lowest loss at         {found.lowest:.2g}",
            f"  suggested optimizer.lr={found.peak:g} as the peak of scheduler=onecycle or cosine (a third of that)",
            f"            optimizer.lr={found.rate:g} with scheduler=constant (a tenth of that)",
        ]
        if found.at_end and not self.exploded:
            lines.append("  the loss was still falling at the end: raise callbacks.lr_range.high")
        return "\n".join(lines)

    def _write(self, trainer: Trainer, found: Suggestion | None) -> None:
        smooth = found.smooth if found else np.empty(0)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["step", "lr", "loss", "smoothed"])
        for step, (rate, loss) in enumerate(zip(self.rates, self.losses, strict=True)):
            writer.writerow([step, f"{rate:.6g}", f"{loss:.6g}", f"{smooth[step]:.6g}" if step < len(smooth) else ""])
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "lr_range.csv", text.getvalue())

        figure = lr_range_figure(np.array(self.rates), np.array(self.losses), found)
        (self.folder / "figures").mkdir(exist_ok=True)
        figure.savefig(self.folder / "figures" / "lr_range.png", dpi=120)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and not is_dry_run(trainer):
                logger.experiment.add_figure("lr_range/curve", figure, len(self.losses), close=False)


def lr_range_figure(rates: np.ndarray, losses: np.ndarray, found: Suggestion | None):
    """Loss against rate, as a matplotlib figure."""
    from matplotlib.figure import Figure

    from src.plotting import QUIET, RIGHT, WRONG, open_axes

    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rates, losses, ".", ms=3, color=QUIET, alpha=0.6, label="each step")
    top = (
        np.nanmax(np.where(np.isfinite(losses), losses, np.nan)[:MIN_STEPS])
        if np.isfinite(losses[:MIN_STEPS]).any()
        else 1.0
    )
    if found is not None:
        axes.plot(rates[: len(found.smooth)], found.smooth, "-", color="black", lw=1.6, label="smoothed")
        marks = [(found.steepest, "^", "#5b5ea6", "falls fastest at"), (found.rate, "o", RIGHT, "constant rate:")]
        marks += [(found.peak, "D", RIGHT, "peak of a schedule:"), (found.lowest, "v", WRONG, "lowest at")]
        axes.axvspan(found.rate, found.peak, color=RIGHT, alpha=0.12, lw=0)
        for rate, mark, colour, text in marks:
            height = np.interp(np.log10(rate), np.log10(rates[: len(found.smooth)]), found.smooth)
            axes.plot(rate, height, mark, ms=8, color=colour, label=f"{text} {rate:.2g}")
        top = max(top, float(found.smooth[:MIN_STEPS].max()))
    axes.set_xscale("log")
    axes.set_ylim(0 if losses.min(initial=0, where=np.isfinite(losses)) >= 0 else None, 1.6 * top)
    axes.set_xlabel("learning rate (optimizer.lr)")
    axes.set_ylabel("training loss")
    axes.set_title(f"Learning-rate range test, {len(losses)} steps", fontsize=11)
    axes.legend(frameon=False, loc="lower left", fontsize=9)
    open_axes(axes)
    return figure
