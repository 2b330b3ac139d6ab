"""Which images are the same, or nearly: within a split and across two. Pure functions of tensors."""

import hashlib
from collections import defaultdict

import torch
from torch import Tensor

AXES = 128  # principal axes that neighbours are searched in; distances are then taken on all pixels
BLOCK = 1000
NEAR = 0.1  # always a near-duplicate: a correlation above 0.995
TYPICAL = 0.5  # ... or nearer than this share of the class' usual distance


def identical(images: Tensor) -> list[list[int]]:
    """Groups of two or more rows of uint8 (N, C, H, W) that are equal byte for byte, in order."""
    groups = defaultdict(list)
    for row, content in enumerate(images.flatten(1).numpy()):
        groups[hashlib.blake2b(content.tobytes(), digest_size=16).digest()].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def axes_of(vectors: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (D,), the first principal axes (D, k), and the variances along all of them (D,), falling.

    vectors: float32 (N, D); k is `count`, at most D.
    """
    mean = vectors.mean(0)
    covariance = (vectors.T @ vectors / len(vectors) - mean.outer(mean)).double()
    variances, axes = torch.linalg.eigh(covariance)
    return mean, axes.flip(1)[:, :count].float().contiguous(), variances.flip(0).clamp_min(0).float()


def nearest(queries: Tensor, keys: Tensor, same: bool = False) -> tuple[Tensor, Tensor]:
    """For each query the nearest key, row (n,) and distance (n,); same: the two are one set, nobody is its own.

    queries (n, D), keys (m, D): float32. Where D exceeds 128, looked for in the first 128 principal axes of the keys:
    what is near in all pixels is nearer still there, so that copies are found; among distant keys it may be another
    than the nearest, hardly farther. Raises ValueError for one image without another.
    """
    if len(keys) < 1 + same:
        raise ValueError("no other image")
    found, short, shorter = [], queries, keys
    if keys.shape[1] > AXES:
        mean, axes, _ = axes_of(keys, AXES)
        short, shorter = (queries - mean) @ axes, (keys - mean) @ axes
    squares, across = shorter.square().sum(1).unsqueeze(0), shorter.T.contiguous()
    buffer = queries.new_empty(min(BLOCK, len(queries)), len(keys))
    for start in range(0, len(queries), BLOCK):
        some = short[start : start + BLOCK]
        scores = buffer[: len(some)]
        torch.addmm(squares.expand(len(some), -1), some, across, alpha=-2, out=scores)
        if same:
            each = torch.arange(len(some))
            scores[each, each + start] = torch.inf
        found.append(scores.min(1).indices)
    rows = torch.cat(found)
    distances = [
        (query - keys[row]).norm(dim=1) for query, row in zip(queries.split(BLOCK), rows.split(BLOCK), strict=True)
    ]
    return rows, torch.cat(distances)


def usual_distance(distances: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Median distance to the nearest image, per class: (K,); the overall median for a class without images."""
    overall = distances.median()
    return torch.stack([distances[labels == k].median() if (labels == k).any() else overall for k in range(classes)])


def too_near(distances: Tensor, labels: Tensor, usual: Tensor) -> Tensor:
    """Rows of near-duplicates, a distance of at most 0.1 or half of what is usual in its class, strangest first."""
    rows = (distances <= (TYPICAL * usual[labels]).clamp_min(NEAR)).nonzero().flatten()
    return rows[(distances / usual[labels].clamp_min(1e-9))[rows].argsort(stable=True)]
