"""The learning-rate range test (Smith 2017, arXiv:1506.01186): the loss while the rate grows, and the rate to take."""

import csv
import io
import logging
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger

from src.errors import InputError, is_number, require
from src.files import write_bytes

MEMORY = 0.9  # of the running mean that is watched for an explosion
LEAST = 20  # steps that say something
FALL = 0.02  # of the first loss: a curve that falls less is flat
log = logging.getLogger(__name__)


class Suggestion(NamedTuple):
    """lowest: the rate at which the smoothed loss is lowest; rate: a tenth of it, to be held for a whole run; peak: a
    third, for a schedule that falls from it. steepest: the rate at which the loss falls fastest per decade; smooth: the
    smoothed losses; at_end: whether the lowest loss came with the last rate that was tried."""

    rate: float
    peak: float
    lowest: float
    steepest: float
    smooth: np.ndarray
    at_end: bool


def suggest(rates: np.ndarray, losses: np.ndarray) -> Suggestion | None:
    """What the curve says; None if it has fewer than 20 points, falls by less than a fiftieth, or only after it had
    exploded.

    rates: (N,), rising; losses: (N,), of which those that are not finite end the curve. Losses are smoothed over
    N/25 steps to either side, so that the lowest point is not late, as it is in a running mean.
    """
    finite = np.isfinite(losses)
    end = len(losses) if finite.all() else int(finite.argmin())
    rates, losses = rates[:end], losses[:end]
    if end < LEAST:
        return None
    smooth = smoothed(losses)
    slope = np.gradient(smooth, np.log10(rates))
    lowest = int(smooth.argmin())
    least = smooth[lowest]
    if lowest == 0 or least > smooth[0] - FALL * abs(smooth[0]) or (losses[0] > 0 and least > 2 * losses[0]):
        return None
    steepest = rates[int(slope[: lowest + 1].argmin())]
    rate, peak = (float(f"{rates[lowest] / share:.1e}") for share in (10, 3))
    return Suggestion(rate, peak, float(rates[lowest]), float(steepest), smooth, lowest == end - 1)


def smoothed(losses: np.ndarray) -> np.ndarray:
    """Each loss with its neighbours, weighted by a bell of N/50 steps' width; the ends by what there is of it."""
    width = max(1.0, len(losses) / 50)
    offsets = np.arange(-round(3 * width), round(3 * width) + 1)
    bell = np.exp(-0.5 * (offsets / width) ** 2)
    weights = np.convolve(np.ones(len(losses)), bell, "full")
    sums = np.convolve(losses, bell, "full")
    cut = slice(len(offsets) // 2, len(offsets) // 2 + len(losses))
    return sums[cut] / weights[cut]


class RateRange(Callback):
    """Raises the rate from `low` to `high` over the run's steps, the same factor at each, and ends when the loss
    explodes; writes lr_range.csv and figures/lr_range.png, and says which rate to take.

    The schedule of the config is laid aside; parameter groups keep the ratios of their rates. folder: where the files
    go. stop: the run ends when the running mean of the loss is so many times its lowest, or the loss is no number.
    Raises InputError for a range that is none, or when training begins with a method that makes no steps.
    """

    state_key = "lr_range"

    def __init__(self, folder: str, low: float = 1e-5, high: float = 10.0, stop: float = 4.0):
        for key, value in (("low", low), ("high", high), ("stop", stop)):
            require(is_number(value) and value > 0, f"callbacks.lr_range.{key}={value}: a number above 0")
        require(low < high, f"callbacks.lr_range.low={low}: below high, which is {high}")
        require(stop > 1, f"callbacks.lr_range.stop={stop}: above 1")
        self.folder, self.low, self.high, self.stop = Path(folder), low, high, stop
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.exploded = False
        self._ratios: list[float] = []
        self._steps, self._mean, self._least = 1, 0.0, math.inf
        self._parts: list[float] = []  # of the batches of a step

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        groups = trainer.optimizers[0].param_groups
        if not groups:
            raise InputError("a range test needs steps, and this fine-tuning method makes none: give another finetune")
        given = trainer.optimizers[0].defaults["lr"]
        require(given > 0, "a range test needs optimizer.lr above 0, though its size does not matter")
        # A schedule may have changed the rates already; what it starts from is kept beside them.
        self._ratios = [group.get("initial_lr", group["lr"]) / given for group in groups]
        self._steps = int(trainer.estimated_stepping_batches)
        trainer.strategy.lr_scheduler_configs = []

    def on_train_batch_start(self, trainer: Trainer, task: LightningModule, batch: object, batch_idx: int) -> None:
        for group, ratio in zip(trainer.optimizers[0].param_groups, self._ratios, strict=True):
            group["lr"] = ratio * self.rate(trainer.global_step)

    def rate(self, step: int) -> float:
        """Of a step, counted from 0."""
        return self.low * (self.high / self.low) ** (step / max(1, self._steps - 1))

    def on_train_batch_end(self, trainer: Trainer, task: LightningModule, outputs, batch, batch_idx: int) -> None:
        loss = trainer.strategy.reduce(outputs["loss"].float(), reduce_op="mean")
        self._parts.append(float(loss) * trainer.accumulate_grad_batches)  # Lightning has divided it
        if trainer.global_step > len(self.rates):
            self.rates.append(self.rate(len(self.rates)))
            self.losses.append(sum(self._parts) / len(self._parts))
            self._parts.clear()
            self._watch(trainer, task)

    def _watch(self, trainer: Trainer, task: LightningModule) -> None:
        count, loss = len(self.losses), self.losses[-1]
        for logger in trainer.loggers:
            logger.log_metrics({"lr_range/loss": loss, "lr_range/lr": self.rates[-1]}, step=count)
        self._mean = MEMORY * self._mean + (1 - MEMORY) * loss
        running = self._mean / (1 - MEMORY**count)
        if count >= LEAST // 2:
            self._least = min(self._least, running)
        if not math.isfinite(loss) or running > self.stop * self._least:
            self.exploded = trainer.should_stop = True
            if not math.isfinite(loss):
                task.unread.clear()  # the task would refuse it: here it is what was looked for

    def on_exception(self, trainer: Trainer, task: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt):  # what was tried so far is worth looking at
            self.on_train_end(trainer, task)

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.is_global_zero and self.losses:
            found = suggest(np.array(self.rates), np.array(self.losses))
            self._write(trainer, found)
            log.info("%s", self.says(found))

    def says(self, found: Suggestion | None) -> str:
        """The result as lines for a terminal."""
        last = f"{len(self.losses)} steps, rates {self.rates[0]:.2g} to {self.rates[-1]:.2g}"
        ended = "the loss exploded there" if self.exploded else "the loss did not explode"
        if found is None:
            advice = "no rate can be suggested: "
            if len(self.losses) < LEAST:
                advice += f"{LEAST} steps are the least, raise trainer.max_steps"
            else:
                advice += "the loss did not fall: lower callbacks.lr_range.low, or raise callbacks.lr_range.high"
            return f"range test: {last}; {ended}\n{advice}"
        lines = [
            f"range test: {last}; {ended}",
            f"  falls fastest at       {found.steepest:.2g}",
            f"  lowest loss at         {found.lowest:.2g}",
            f"  suggested optimizer.lr={found.peak:g} as the peak of scheduler=onecycle or cosine (a third of that)",
            f"            optimizer.lr={found.rate:g} with scheduler=constant (a tenth of that)",
        ]
        if found.at_end and not self.exploded:
            lines.append("  the loss was still falling at the end: raise callbacks.lr_range.high")
        return "\n".join(lines)

    def _write(self, trainer: Trainer, found: Suggestion | None) -> None:
        smooth = found.smooth if found else []
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["step", "lr", "loss", "smoothed"])
        for step, (rate, loss) in enumerate(zip(self.rates, self.losses, strict=True)):
            writer.writerow([step, f"{rate:.6g}", f"{loss:.6g}", f"{smooth[step]:.6g}" if step < len(smooth) else ""])
        self.folder.mkdir(parents=True, exist_ok=True)
        write_bytes(self.folder / "lr_range.csv", text.getvalue().encode())

        figure = picture(np.array(self.rates), np.array(self.losses), found)
        (self.folder / "figures").mkdir(exist_ok=True)
        figure.savefig(self.folder / "figures" / "lr_range.png", dpi=120)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and not trainer.fast_dev_run:
                logger.experiment.add_figure("lr_range/curve", figure, len(self.losses), close=False)


def picture(rates: np.ndarray, losses: np.ndarray, found: Suggestion | None):
    """Loss against rate, as a matplotlib figure."""
    from matplotlib.figure import Figure

    from src.plotting import QUIET, RIGHT, WRONG

    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(rates, losses, ".", ms=3, color=QUIET, alpha=0.6, label="each step")
    top = np.nanmax(np.where(np.isfinite(losses), losses, np.nan)[:LEAST]) if np.isfinite(losses[:LEAST]).any() else 1.0
    if found is not None:
        axes.plot(rates[: len(found.smooth)], found.smooth, "-", color="black", lw=1.6, label="smoothed")
        marks = [(found.steepest, "^", "#5b5ea6", "falls fastest at"), (found.rate, "o", RIGHT, "constant rate:")]
        marks += [(found.peak, "D", RIGHT, "peak of a schedule:"), (found.lowest, "v", WRONG, "lowest at")]
        axes.axvspan(found.rate, found.peak, color=RIGHT, alpha=0.12, lw=0)
        for rate, mark, colour, text in marks:
            height = np.interp(np.log10(rate), np.log10(rates[: len(found.smooth)]), found.smooth)
            axes.plot(rate, height, mark, ms=8, color=colour, label=f"{text} {rate:.2g}")
        top = max(top, float(found.smooth[:LEAST].max()))
    axes.set_xscale("log")
    axes.set_ylim(0 if losses.min(initial=0, where=np.isfinite(losses)) >= 0 else None, 1.6 * top)
    axes.set_xlabel("learning rate (optimizer.lr)")
    axes.set_ylabel("training loss")
    axes.set_title(f"Learning-rate range test, {len(losses)} steps", fontsize=11)
    axes.legend(frameon=False, loc="lower left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
