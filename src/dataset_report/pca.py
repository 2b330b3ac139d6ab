"""Principal component analysis of many vectors."""

from typing import NamedTuple

import torch
from torch import Tensor


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
