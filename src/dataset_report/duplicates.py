"""Identical and nearly identical images, within a split and across two. Pure functions of tensors."""

import hashlib
from collections import defaultdict

import torch
from torch import Tensor

from src.dataset_report.pca import PCA

BLOCK = 1000  # queries
NEAR_DISTANCE = 0.1  # a near-duplicate at any rate: a correlation above 0.995
NEAR_RATIO = 0.5  # ... or nearer than this share of the class's median nearest distance


def identical_groups(images: Tensor) -> list[list[int]]:
    """Groups of two or more rows of uint8 (N, C, H, W) that are equal byte for byte, in order."""
    groups = defaultdict(list)
    for row, content in enumerate(images.flatten(1).numpy()):
        groups[hashlib.blake2b(content.tobytes(), digest_size=16).digest()].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def nearest_images(queries: Tensor, keys: Tensor, pca: PCA | None = None, same: bool = False) -> tuple[Tensor, Tensor]:
    """For each query the nearest key: its row (n,) and its distance (n,).

    queries (n, D), keys (m, D): float32. same: both are one set, and no image is its own neighbour.
    pca: search among these components, which is faster. A projection never lengthens a distance, so copies are still
    found; among distant keys the result may be a key slightly farther than the nearest.
    Raises ValueError if there is no other image.
    """
    if len(keys) < 1 + same:
        raise ValueError("no other image")
    short_queries, short_keys = queries, keys
    if pca is not None:
        short_queries, short_keys = pca.transform(queries), pca.transform(keys)
    squares, transposed = short_keys.square().sum(1).unsqueeze(0), short_keys.T.contiguous()
    buffer = queries.new_empty(min(BLOCK, len(queries)), len(keys))
    found = []
    for start in range(0, len(queries), BLOCK):
        block = short_queries[start : start + BLOCK]
        scores = buffer[: len(block)]
        torch.addmm(squares.expand(len(block), -1), block, transposed, alpha=-2, out=scores)
        if same:
            diagonal = torch.arange(len(block))
            scores[diagonal, diagonal + start] = torch.inf
        found.append(scores.min(1).indices)
    rows = torch.cat(found)
    distances = [
        (query - keys[row]).norm(dim=1) for query, row in zip(queries.split(BLOCK), rows.split(BLOCK), strict=True)
    ]
    return rows, torch.cat(distances)


def class_medians(distances: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Median distance per class: (K,); the overall median for a class without images."""
    overall = distances.median()
    return torch.stack([distances[labels == k].median() if (labels == k).any() else overall for k in range(classes)])


def near_duplicates(distances: Tensor, labels: Tensor, usual: Tensor) -> Tensor:
    """Rows of near-duplicates, nearest for their class first.

    usual: (K,), the median nearest distance per class. A near-duplicate is within 0.1, or within half of it.
    """
    rows = (distances <= (NEAR_RATIO * usual[labels]).clamp_min(NEAR_DISTANCE)).nonzero().flatten()
    return rows[(distances / usual[labels].clamp_min(1e-9))[rows].argsort(stable=True)]
