"""Which images are the same, or nearly: within a split and across two. Pure functions of tensors."""

import hashlib
from collections import defaultdict

import torch
from torch import Tensor

from src.dataset_report.pca import Axes

BLOCK = 1000
NEAR = 0.1  # always a near-duplicate: a correlation above 0.995
TYPICAL = 0.5  # ... or nearer than this share of the class' usual distance


def identical(images: Tensor) -> list[list[int]]:
    """Groups of two or more rows of uint8 (N, C, H, W) that are equal byte for byte, in order."""
    groups = defaultdict(list)
    for row, content in enumerate(images.flatten(1).numpy()):
        groups[hashlib.blake2b(content.tobytes(), digest_size=16).digest()].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def nearest_images(
    queries: Tensor, keys: Tensor, axes: Axes | None = None, same: bool = False
) -> tuple[Tensor, Tensor]:
    """For each query the nearest key, row (n,) and distance (n,); same: the two are one set, nobody is its own.

    queries (n, D), keys (m, D): float32. With axes, neighbours are looked for among the components
    along these: what is near in all pixels is nearer still there, so that copies are found; among distant keys it may
    be another than the nearest, hardly farther. Raises ValueError for one image without another.
    """
    if len(keys) < 1 + same:
        raise ValueError("no other image")
    found, short, shorter = [], queries, keys
    if axes is not None:
        short, shorter = axes.read(queries), axes.read(keys)
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
