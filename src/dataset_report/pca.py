"""Principal axes of many vectors."""

from typing import NamedTuple

import torch
from torch import Tensor


class Axes(NamedTuple):
    """mean (D,); axes (D, k), orthonormal, the longest first; variances along all axes, falling."""

    mean: Tensor
    axes: Tensor
    variances: Tensor

    def read(self, vectors: Tensor) -> Tensor:
        """Components (N, k) of vectors (N, D)."""
        return (vectors - self.mean) @ self.axes


def axes_of(vectors: Tensor, count: int) -> Axes:
    """The first `count` principal axes of float32 (N, D), at most as many as there are."""
    mean = vectors.mean(0)
    if len(vectors) < vectors.shape[1]:  # no more axes than vectors: the smaller problem
        centred = vectors - mean
        variances, places = torch.linalg.eigh((centred @ centred.T).double() / len(vectors))
        axes = centred.T @ places.flip(1)[:, :count].float()
        axes = axes / axes.norm(dim=0).clamp_min(1e-6)
    else:
        covariance = (vectors.T @ vectors / len(vectors) - mean.outer(mean)).double()
        variances, axes = torch.linalg.eigh(covariance)
        axes = axes.flip(1)[:, :count].float()
    return Axes(mean, axes.contiguous(), variances.flip(0).clamp_min(0).float())
