"""Schedules of the learning rate."""

import math
from collections.abc import Callable

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau, StepLR

from src.errors import InputError, is_integer, is_number, require
from src.evaluation.monitor import direction


def constant(optimizer: Optimizer, total_steps: int, warmup: float = 0.0) -> dict:
    """One rate; warmup: share of all steps over which it rises from 0."""
    return _by_step(LambdaLR(optimizer, _warmed(lambda progress: 1.0, warmup, total_steps)))


def cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.05, final: float = 0.0) -> dict:
    """Half a cosine from the rate down to `final` of it (Loshchilov & Hutter 2017), after a linear rise."""
    require(is_number(final) and 0 <= final <= 1, f"scheduler.final={final}: 0 to 1")

    def fall(progress: float) -> float:
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

    return _by_step(LambdaLR(optimizer, _warmed(fall, warmup, total_steps)))


def onecycle(
    optimizer: Optimizer,
    total_steps: int,
    warmup: float = 0.3,
    initial: float = 0.04,
    final: float = 1e-4,
) -> dict:
    """Up to the rate, which is the peak, and down to almost nothing (Smith & Topin 2018, arXiv:1708.07120).

    warmup: share of all steps spent rising; initial, final: first and last rate as shares of the peak.
    """
    require(is_number(warmup) and 0 < warmup < 1, f"scheduler.warmup={warmup}: above 0, below 1")
    for key, value in (("initial", initial), ("final", final)):
        require(is_number(value) and 0 < value <= 1, f"scheduler.{key}={value}: above 0, at most 1")
    rise = max(1, round(warmup * total_steps))
    last = max(1, total_steps - 1 - rise)

    def blend(start: float, end: float, progress: float) -> float:
        return end + (start - end) * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    def factor(step: int) -> float:
        return blend(initial, 1, step / rise) if step < rise else blend(1, final, (step - rise) / last)

    return _by_step(LambdaLR(optimizer, factor))


def step(optimizer: Optimizer, total_steps: int, epochs: int = 5, factor: float = 0.5) -> dict:
    """The rate times `factor` every `epochs` epochs."""
    require(is_integer(epochs) and epochs >= 1, f"scheduler.epochs={epochs}: a whole number of at least 1")
    require(is_number(factor) and 0 < factor <= 1, f"scheduler.factor={factor}: above 0, at most 1")
    return {"scheduler": StepLR(optimizer, epochs, factor), "interval": "epoch"}


def plateau(
    optimizer: Optimizer,
    total_steps: int,
    monitor: str = "val/loss",
    patience: int = 2,
    factor: float = 0.3,
) -> dict:
    """The rate times `factor` whenever `monitor` has not fallen for more than `patience` epochs."""
    require(is_integer(patience) and patience >= 0, f"scheduler.patience={patience}: 0 or more epochs")
    require(is_number(factor) and 0 < factor < 1, f"scheduler.factor={factor}: above 0, below 1")
    scheduler = ReduceLROnPlateau(optimizer, direction(monitor), factor, patience)
    return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor}


def _by_step(scheduler: torch.optim.lr_scheduler.LRScheduler) -> dict:
    return {"scheduler": scheduler, "interval": "step"}


def _warmed(shape: Callable[[float], float], warmup: float, total_steps: int) -> Callable[[int], float]:
    if not is_number(warmup) or not 0 <= warmup < 1:
        raise InputError(f"scheduler.warmup={warmup}: 0 to below 1")
    rise = round(warmup * total_steps)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        return shape(min(1.0, (step - rise) / max(1, total_steps - rise)))

    return factor
