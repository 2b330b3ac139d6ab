"""Schedules of the learning rate, as make(optimizer, total_steps) -> what Lightning's configure_optimizers returns.

A schedule's shape is not part of its state: a run that is resumed for more epochs follows the longer schedule.
"""

import bisect
import inspect
import itertools
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial

import torch
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau, StepLR

from src.errors import InputError, choice, fraction, integer, positive_int, require
from src.evaluation.monitor import monitor_mode

NEVER = sys.maxsize  # epochs between two steps that Lightning makes


def adapt_schedule(make: Callable) -> Callable[..., dict]:
    """A partial of torch's schedulers, or of one like them, to be called as the schedules here, which stay as they are.

    Two keys are not the scheduler's own: interval, epoch or step, between two of its steps (epoch, but step where it
    takes total_steps, which is filled in), and monitor, of ReduceLROnPlateau. Partials among its arguments, as
    SequentialLR has them, are called with the optimizer.
    """
    maker, options = getattr(make, "func", make), dict(getattr(make, "keywords", {}))
    named = inspect.signature(maker).parameters
    extra = {key: options.pop(key) for key in ("interval", "monitor") if key in options and key not in named}
    interval = extra.get("interval") or ("step" if "total_steps" in named else "epoch")
    choice("scheduler.interval", interval, ("epoch", "step"))

    def make_schedule(optimizer: Optimizer, total_steps: int) -> dict:
        arguments = dict(options)
        for key, value in options.items():
            if isinstance(value, list) and value and all(isinstance(each, partial) for each in value):
                arguments[key] = [each(optimizer) for each in value]
        if "total_steps" in named and options.get("total_steps") is None:
            arguments["total_steps"] = total_steps
        plateau_of = extra.get("monitor") or "val/loss"
        if isinstance(maker, type) and issubclass(maker, ReduceLROnPlateau):
            arguments.setdefault("mode", monitor_mode(plateau_of))
        made = maker(optimizer, **arguments)
        if isinstance(made, dict):
            require(not extra, f"scheduler.{next(iter(extra), '')} is for torch's own schedulers: leave it out")
            return made
        require(isinstance(made, LRScheduler), f"scheduler: {type(made).__name__} is no scheduler of torch's kind")
        if not isinstance(made, ReduceLROnPlateau):
            require("monitor" not in extra, f"scheduler.monitor: {type(made).__name__} watches no metric: leave it out")
            return {"scheduler": made, "interval": interval}
        require(interval == "epoch", "scheduler.interval=step: ReduceLROnPlateau steps when a metric is measured")
        return {"scheduler": made, "interval": "epoch", "monitor": plateau_of, "frequency": NEVER}

    return make_schedule


def check_schedule_length(configs: Sequence[LRSchedulerConfig], total_steps: float) -> None:
    """Raise InputError for a scheduler, as of a resumed run, that ends before training does and cannot go on."""
    for config in configs:
        planned, name = getattr(config.scheduler, "total_steps", None), type(config.scheduler).__name__
        if planned is not None and config.interval == "step" and planned < total_steps:
            raise InputError(
                f"scheduler: {name} has {planned:,} steps and training {total_steps:,.0f}: train no longer"
            )


def constant(optimizer: Optimizer, total_steps: int, warmup: float = 0.0) -> dict:
    """One rate; warmup: fraction of all steps over which it rises from 0."""
    return _per_step(LambdaLR(optimizer, _with_warmup(lambda progress: 1.0, warmup, total_steps)))


def cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.05, final: float = 0.0) -> dict:
    """Half a cosine from the rate down to `final` of it (Loshchilov & Hutter 2017), after a linear rise."""
    fraction("scheduler.final", final)

    def fall(progress: float) -> float:
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

    return _per_step(LambdaLR(optimizer, _with_warmup(fall, warmup, total_steps)))


def onecycle(
    optimizer: Optimizer, total_steps: int, warmup: float = 0.3, initial: float = 0.04, final: float = 1e-4
) -> dict:
    """Up to the rate, which is the peak, and down to almost nothing (Smith & Topin 2018, arXiv:1708.07120).

    warmup: fraction of all steps spent rising; initial, final: first and last rate as fractions of the peak.
    """
    fraction("scheduler.warmup", warmup, zero=False, one=False)
    fraction("scheduler.initial", initial, zero=False)
    fraction("scheduler.final", final, zero=False)
    rise = max(1, round(warmup * total_steps))
    last = max(1, total_steps - 1 - rise)

    def blend(start: float, end: float, progress: float) -> float:
        return end + (start - end) * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    def factor(step: int) -> float:
        return blend(initial, 1, step / rise) if step < rise else blend(1, final, (step - rise) / last)

    return _per_step(LambdaLR(optimizer, factor))


def step(optimizer: Optimizer, total_steps: int, epochs: int = 5, factor: float = 0.5) -> dict:
    """The rate times `factor` every `epochs` epochs."""
    positive_int("scheduler.epochs", epochs)
    fraction("scheduler.factor", factor, zero=False)
    return {"scheduler": StepLR(optimizer, epochs, factor), "interval": "epoch"}


def plateau(
    optimizer: Optimizer, total_steps: int, monitor: str = "val/loss", patience: int = 2, factor: float = 0.3
) -> dict:
    """The rate times `factor` whenever `monitor` has not improved for more than `patience` epochs that measured it.

    `Classifier` steps it before the epoch's checkpoint is written: Lightning would do so after it, and a resumed run
    would have missed the step.
    """
    integer("scheduler.patience", patience, least=0, unit="epochs")
    fraction("scheduler.factor", factor, zero=False, one=False)
    scheduler = ReduceLROnPlateau(optimizer, monitor_mode(monitor), factor, patience)
    return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor, "frequency": NEVER}


def step_plateau(config: LRSchedulerConfig, epoch: int, latest: dict[str, float]) -> None:
    """Give a schedule of `plateau` the metric of an epoch, if it was measured in it; others are left alone.

    latest: name -> value, and as val/epoch the last epoch that was validated. Raises InputError for a name that no
    epoch measures.
    """
    if not isinstance(config.scheduler, ReduceLROnPlateau) or config.frequency != NEVER:
        return
    if str(config.monitor).startswith("val/") and latest.get("val/epoch") != epoch:
        return
    known = ", ".join(sorted(name for name in latest if "/" in name))
    require(config.monitor in latest, f"scheduler.monitor={config.monitor} is not measured; there are {known}")
    config.scheduler.step(latest[str(config.monitor)])


def restart_each(make: Callable[..., dict], steps: Sequence[int]) -> Callable[..., dict]:
    """A schedule that begins anew with each of several parts of a training.

    make: as all schedules here. steps: of each part. A schedule of torch's own goes on over all of them.
    """

    def make_schedule(optimizer: Optimizer, total_steps: int) -> dict:
        made = [make(optimizer, total_steps=count)["scheduler"] for count in steps]
        if not all(type(scheduler) is LambdaLR for scheduler in made):
            return make(optimizer, total_steps=total_steps)
        ends = list(itertools.accumulate(steps))

        def factor(step: int) -> float:
            part = min(bisect.bisect_right(ends, step), len(ends) - 1)
            return made[part].lr_lambdas[0](step - (ends[part] - steps[part]))

        return _per_step(LambdaLR(optimizer, factor))

    return make_schedule


def _per_step(scheduler: torch.optim.lr_scheduler.LRScheduler) -> dict:
    return {"scheduler": scheduler, "interval": "step"}


def _with_warmup(shape: Callable[[float], float], warmup: float, total_steps: int) -> Callable[[int], float]:
    fraction("scheduler.warmup", warmup, one=False)
    rise = round(warmup * total_steps)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        return shape(min(1.0, (step - rise) / max(1, total_steps - rise)))

    return factor
