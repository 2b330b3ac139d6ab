"""Nearest images: duplicates within a split and across two, and images far from their class. Functions of tensors."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor

from src.dataset_report.statistics import PCA

BLOCK = 1000  # queries
NEAR_DISTANCE = 0.1  # a near-duplicate at any rate: a correlation above 0.995
NEAR_RATIO = 0.5  # ... or nearer than this share of the class's median nearest distance
K = 5  # the nearest neighbour of its class whose distance makes an outlier
ZERO_DISTANCE = 1e-3  # a distance up to this may be rounding
MAX_RATIO = 1e4  # ratios beyond mean that the class's median distance is 0
MIN_DEVIATIONS = 2.5  # robust standard deviations from which a measure is named as a reason


def identical_groups(images: Tensor) -> list[list[int]]:
    """Groups of two or more rows of uint8 (N, C, H, W) that are equal byte for byte, in order."""
    groups = defaultdict(list)
    for row, content in enumerate(images.flatten(1).numpy()):
        groups[hashlib.blake2b(content.tobytes(), digest_size=16).digest()].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def _distance_blocks(queries: Tensor, keys: Tensor) -> Iterator[Tensor]:
    """Squared distances (block, m) to the keys (m, D), less the query's own square, in one buffer for all blocks."""
    squares, transposed = keys.square().sum(1), keys.T.contiguous()
    buffer = queries.new_empty(min(BLOCK, len(queries)), len(keys))
    for block in queries.split(BLOCK):
        yield torch.addmm(squares, block, transposed, alpha=-2, out=buffer[: len(block)])


def nearest_images(queries: Tensor, keys: Tensor, pca: PCA | None = None, same: bool = False) -> tuple[Tensor, Tensor]:
    """For each query the nearest key: its row (n,) and its distance (n,).

    queries (n, D), keys (m, D): float32. same: both are one set, and no image is its own neighbour.
    pca: search among these components, which is faster. A projection never lengthens a distance, so copies are still
    found; among distant keys the result may be a key slightly farther than the nearest.
    """
    short = (queries, keys) if pca is None else (pca.transform(queries), pca.transform(keys))
    found = []
    for index, scores in enumerate(_distance_blocks(*short)):
        if same:
            scores.diagonal(index * BLOCK).fill_(torch.inf)
        found.append(scores.min(1).indices)
    rows = torch.cat(found)
    blocks = zip(queries.split(BLOCK), rows.split(BLOCK), strict=True)
    return rows, torch.cat([(block - keys[nearest]).norm(dim=1) for block, nearest in blocks])


def class_medians(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Median of the values (N, ...) per class, NaN aside: (K, ...); the overall median for a class without images."""
    members = [values[labels == label] for label in range(classes)]
    return torch.stack([(own if len(own) else values).nanmedian(0).values for own in members])


def near_duplicates(distances: Tensor, labels: Tensor, usual: Tensor) -> Tensor:
    """Rows of near-duplicates, nearest for their class first.

    usual: (K,), the median nearest distance per class. A near-duplicate is within 0.1, or within half of it.
    """
    rows = (distances <= (NEAR_RATIO * usual[labels]).clamp_min(NEAR_DISTANCE)).nonzero().flatten()
    return rows[(distances / usual[labels].clamp_min(1e-9))[rows].argsort(stable=True)]


def knn_distances(vectors: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Distance of each image to the `K`-th nearest other image of its class: (N,); NaN for a class of one image.

    vectors: float32 (N, D). In a class of K images or fewer it is the farthest image (Ramaswamy et al. 2000).
    """
    distances = vectors.new_full((len(vectors),), torch.nan)
    for label in range(classes):
        rows = (labels == label).nonzero().flatten()
        if len(rows) > 1:
            members = vectors[rows]
            # K + 1, because the image itself is among them.
            count = min(K + 1, len(rows))
            kth = [scores.topk(count, largest=False).values[:, -1] for scores in _distance_blocks(members, members)]
            distances[rows] = (torch.cat(kth) + members.square().sum(1)).clamp_min(0).sqrt()
    return distances


def outlier_ratio(distances: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Each distance over the median of its class: (N,); NaN stays NaN.

    Where the median is 0, because most images of the class are copies, the ratio is 1 for a distance of 0 and above
    `MAX_RATIO` for all others.
    """
    medians = class_medians(distances, labels, classes)[labels]
    of_copies = torch.where(distances <= ZERO_DISTANCE, 1.0, distances * MAX_RATIO / ZERO_DISTANCE)
    return torch.where(medians <= ZERO_DISTANCE, of_copies, distances / medians)


def explain_outliers(
    measures: dict[str, Tensor], labels: Tensor, classes: int, rows: Tensor, blank: tuple[str, str]
) -> list[str]:
    """For each of `rows` the measure with the largest robust z-score if that is 2.5 or more, else "unusual shape".

    The score is (x - median) / (1.4826 MAD) within the class; 0 in a class that does not vary, and for NaN.
    blank: the measure that is NaN for an image without content, and the words for such an image.
    """
    names, values = list(measures), torch.stack(list(measures.values()), 1)
    medians = class_medians(values, labels, classes)[labels]
    deviations = values - medians
    scales = 1.4826 * class_medians(deviations.abs(), labels, classes)[labels]
    scores = torch.where(scales > 1e-6, deviations / scales, 0.0).nan_to_num(0.0).abs()
    reasons = []
    for row in rows.tolist():
        column = int(scores[row].argmax())
        if scores[row, column] >= MIN_DEVIATIONS:
            reasons.append(f"{names[column]} {values[row, column]:.1f}, usual {medians[row, column]:.1f}")
        else:
            reasons.append(blank[1] if measures[blank[0]][row].isnan() else "unusual shape")
    return reasons
