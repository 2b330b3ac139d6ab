"""Statistics of images and of vectors, as functions of tensors."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

PERCENTILES = {"p5": 5, "p25": 25, "median": 50, "p75": 75, "p95": 95}
CHUNK = 4096  # images


def class_mean_std(images: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation image per class, in grey levels: float32 (K, C, H, W) each.

    images: uint8 (N, C, H, W). A class without images gets 0. The deviation is the population's (over n).
    """
    total = torch.zeros(classes, images[0].numel(), dtype=torch.double)
    squares = torch.zeros_like(total)
    for chunk, chunk_labels in zip(images.split(CHUNK), labels.split(CHUNK), strict=True):
        values = chunk.flatten(1).double()
        total.index_add_(0, chunk_labels, values)
        squares.index_add_(0, chunk_labels, values.square())
    counts = labels.bincount(minlength=classes).clamp_min(1).unsqueeze(1)
    mean = total / counts
    std = (squares / counts - mean.square()).clamp_min(0).sqrt()
    shape = (classes, *images.shape[1:])
    return mean.float().view(shape), std.float().view(shape)


def level_histogram(images: Tensor) -> Tensor:
    """Pixels of each grey level, per channel: int64 (C, 256)."""
    chunks = images.split(CHUNK)
    channels = range(images.shape[1])
    return torch.stack([sum(chunk[:, c].flatten().bincount(minlength=256) for chunk in chunks) for c in channels])


def summary_statistics(values: Tensor) -> dict[str, float | int | None]:
    """n, mean, sd and the 5, 25, 50, 75, 95 % percentiles of a vector's finite values; None where there are none."""
    finite = values[values.isfinite()].double().numpy()
    if not len(finite):
        return {"n": 0, "mean": None, "sd": None, **dict.fromkeys(PERCENTILES)}
    percentiles = np.percentile(finite, list(PERCENTILES.values()))
    numbers = {"mean": finite.mean(), "sd": finite.std(), **dict(zip(PERCENTILES, percentiles, strict=True))}
    return {"n": len(finite), **{name: round(float(value), 4) for name, value in numbers.items()}}


class PCA(NamedTuple):
    """mean (D,); basis (D, k), orthonormal columns, largest variance first; variances along all axes, falling."""

    mean: Tensor
    basis: Tensor
    variances: Tensor

    def transform(self, vectors: Tensor) -> Tensor:
        """Components (N, k) of vectors (N, D)."""
        return (vectors - self.mean) @ self.basis


def fit_pca(vectors: Tensor, count: int) -> PCA:
    """The first `count` principal components of float32 (N, D), or all if there are fewer."""
    mean = vectors.mean(0)
    if len(vectors) < vectors.shape[1]:  # the (N, N) Gram matrix is the smaller problem
        centred = vectors - mean
        variances, coefficients = torch.linalg.eigh((centred @ centred.T).double() / len(vectors))
        basis = centred.T @ coefficients.flip(1)[:, :count].float()
        basis = basis / basis.norm(dim=0).clamp_min(1e-6)
    else:
        covariance = (vectors.T @ vectors / len(vectors) - mean.outer(mean)).double()
        variances, basis = torch.linalg.eigh(covariance)
        basis = basis.flip(1)[:, :count].float()
    return PCA(mean, basis.contiguous(), variances.flip(0).clamp_min(0).float())
