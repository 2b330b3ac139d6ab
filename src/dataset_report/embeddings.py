"""Images as points of a plane, and which of them have room for a thumbnail."""

import numpy as np
import torch
from torch import Tensor

TSNE_COMPONENTS = 50  # principal components that t-SNE reads
MIN_IMAGES = 8


def tsne(components: Tensor, seed: int, threads: int) -> np.ndarray:
    """t-SNE (van der Maaten & Hinton 2008) of principal components (N, D): float (N, 2).

    Started from the first two components, which keeps the global structure (Kobak & Berens 2019). Trust neighbours;
    distances between groups mean nothing.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(30.0, (len(components) - 1) / 3)
    with threadpool_limits(threads):
        model = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=threads, max_iter=750)
        return model.fit_transform(components.numpy())


def scale_to_unit_square(points: np.ndarray) -> np.ndarray:
    """Points (N, 2) scaled so that the 0.5 and 99.5 % percentiles of each axis become 0 and 1; others are clipped."""
    low, high = np.percentile(points, (0.5, 99.5), axis=0)
    return np.clip((points - low) / np.maximum(high - low, 1e-9), 0, 1)


def non_overlapping(points: np.ndarray, side: float) -> list[int]:
    """Rows of `points` (N, 2) whose squares of `side` do not overlap, chosen greedily in order."""
    rows, free, (x, y) = [], np.ones(len(points), bool), points.T
    for row in range(len(points)):
        if free[row]:
            rows.append(row)
            free &= (np.abs(x - x[row]) >= side) | (np.abs(y - y[row]) >= side)
    return rows


def knn_label_agreement(points: np.ndarray, labels: Tensor, k: int = 10) -> float:
    """Mean share of the k nearest points in the plane that have the same label; 0 < k < N."""
    flat = torch.from_numpy(np.ascontiguousarray(points)).float()
    distances = torch.cdist(flat, flat).fill_diagonal_(torch.inf)
    return float((labels[distances.topk(k, largest=False).indices] == labels.unsqueeze(1)).float().mean())


def densest_point(points: np.ndarray, k: int = 15) -> np.ndarray:
    """The point (2,) of `points` (N, 2) with the smallest distance to its k-th nearest neighbour."""
    if len(points) < 3:
        return points[0]
    distances = torch.cdist(*[torch.from_numpy(np.ascontiguousarray(points))] * 2)
    kth = distances.kthvalue(min(k + 1, len(points)), dim=1).values
    return points[int(kth.argmin())]
