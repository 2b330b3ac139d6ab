"""Plain numbers of a data set: average images and grey levels, as functions of tensors."""

import numpy as np
import torch
from torch import Tensor

LEVELS = 256


def averages(images: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation image per class, of grey levels: float32 (K, C, H, W) each.

    images: uint8 (N, C, H, W). A class without images gets 0. The deviation is of the population (over n).
    """
    total = torch.zeros(classes, images[0].numel(), dtype=torch.double)
    squares = torch.zeros_like(total)
    for some, truth in zip(images.split(4096), labels.split(4096), strict=True):
        values = some.flatten(1).double()
        total.index_add_(0, truth, values)
        squares.index_add_(0, truth, values.square())
    counts = labels.bincount(minlength=classes).clamp_min(1).unsqueeze(1)
    mean = total / counts
    spread = (squares / counts - mean.square()).clamp_min(0).sqrt()
    return tuple(value.float().view(classes, *images.shape[1:]) for value in (mean, spread))


def levels(images: Tensor) -> Tensor:
    """How many pixels have each grey level, per channel: int64 (C, 256)."""
    found = torch.zeros(images.shape[1], LEVELS, dtype=torch.int64)
    for some in images.split(4096):
        for channel in range(images.shape[1]):
            found[channel] += some[:, channel].flatten().bincount(minlength=LEVELS)
    return found


def apart(mean: Tensor) -> Tensor:
    """Distance between the mean images of every two classes, root mean square grey levels: (K, K)."""
    flat = mean.flatten(1)
    return torch.cdist(flat, flat) / flat.shape[1] ** 0.5


def spread_of(values: Tensor) -> dict[str, float | int | None]:
    """n, mean, sd and the 5, 25, 50, 75 and 95 % points of the finite values of a vector; None where there are none."""
    finite = values[values.isfinite()].double().numpy()
    names = ("p5", "p25", "median", "p75", "p95")
    if not len(finite):
        return {"n": 0, "mean": None, "sd": None, **dict.fromkeys(names)}
    points = np.percentile(finite, (5, 25, 50, 75, 95))
    numbers = {"mean": finite.mean(), "sd": finite.std(), **dict(zip(names, points, strict=True))}
    return {"n": len(finite), **{name: round(float(value), 4) for name, value in numbers.items()}}
