"""Images as points of a plane, and where there is room for their thumbnails."""

import numpy as np
import torch
from torch import Tensor

BEFORE = 50  # principal components that t-SNE reads
LEAST = 8  # images


def tsne(components: Tensor, seed: int, threads: int) -> np.ndarray:
    """t-SNE (van der Maaten & Hinton 2008) of principal components (N, D): float (N, 2).

    Started from the first two components, so that the whole keeps its shape (Kobak & Berens 2019). Neighbours are
    true, distances between groups are not.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(30.0, (len(components) - 1) / 3)
    with threadpool_limits(threads):
        model = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=threads, max_iter=750)
        return model.fit_transform(components.numpy())


def to_square(points: np.ndarray) -> np.ndarray:
    """Points (N, 2) in 0..1, by the 0.5 and 99.5 % points of each axis; what lies beyond is at the edge."""
    low, high = np.percentile(points, (0.5, 99.5), axis=0)
    return np.clip((points - low) / np.maximum(high - low, 1e-9), 0, 1)


def place(points: np.ndarray, side: float) -> list[int]:
    """Rows of `points` (N, 2) whose squares of `side` do not overlap, the earlier before the later."""
    kept: list[int] = []
    cells: dict[tuple[int, int], list[int]] = {}
    for row, (x, y) in enumerate(points):
        cell = (int(x // side), int(y // side))
        near = [other for i in (-1, 0, 1) for j in (-1, 0, 1) for other in cells.get((cell[0] + i, cell[1] + j), ())]
        if all(abs(points[other] - (x, y)).max() >= side for other in near):
            kept.append(row)
            cells.setdefault(cell, []).append(row)
    return kept


def neighbours_agree(points: np.ndarray, labels: Tensor, k: int = 10) -> float:
    """Share of the k nearest points in the plane that have the same label, on average; 0 < k < N."""
    flat = torch.from_numpy(np.ascontiguousarray(points)).float()
    distances = torch.cdist(flat, flat).fill_diagonal_(torch.inf)
    return float((labels[distances.topk(k, largest=False).indices] == labels.unsqueeze(1)).float().mean())


def densest(points: np.ndarray, k: int = 15) -> np.ndarray:
    """The point (2,) of `points` (N, 2) whose k-th nearest other is nearest."""
    if len(points) < 3:
        return points[0]
    distances = torch.cdist(*[torch.from_numpy(np.ascontiguousarray(points))] * 2)
    kth = distances.kthvalue(min(k + 1, len(points)), dim=1).values
    return points[int(kth.argmin())]
