"""Images far from the rest of their class, and the reasons. Pure functions of tensors."""

import torch
from torch import Tensor

K = 5  # the nearest neighbour whose distance counts
BLOCK = 1000  # queries
ZERO_DISTANCE = 1e-3  # a distance up to this may be rounding
MAX_RATIO = 1e4  # ratios beyond mean that the class's median distance is 0
MIN_DEVIATIONS = 2.5  # robust standard deviations from which a measure is named as a reason


def knn_distances(vectors: Tensor, labels: Tensor, classes: int, k: int = K) -> Tensor:
    """Distance of each image to the k-th nearest other image of its class: (N,); NaN for a class of one image.

    vectors: float32 (N, D). In a class of k images or fewer it is the farthest image (Ramaswamy et al. 2000).
    """
    distances = vectors.new_full((len(vectors),), torch.nan)
    for label in range(classes):
        rows = (labels == label).nonzero().flatten()
        if len(rows) < 2:
            continue
        members, found = vectors[rows], []
        squares, transposed = members.square().sum(1), members.T.contiguous()
        for block in members.split(BLOCK):
            scores = torch.addmm(squares.unsqueeze(0).expand(len(block), -1), block, transposed, alpha=-2)
            # k + 1, because the image itself is among them.
            kth = scores.topk(min(k + 1, len(rows)), largest=False).values[:, -1] + block.square().sum(1)
            found.append(kth.clamp_min(0).sqrt())
        distances[rows] = torch.cat(found)
    return distances


def outlier_ratio(distances: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Each distance over the median of its class: (N,); NaN stays NaN.

    Where the median is 0, because most images of the class are copies, the ratio is 1 for a distance of 0 and above
    `MAX_RATIO` for all others.
    """
    ratios = torch.full_like(distances, torch.nan)
    for label in range(classes):
        rows = labels == label
        if rows.any():
            own, median = distances[rows], distances[rows].nanmedian()
            of_copies = torch.where(own <= ZERO_DISTANCE, 1.0, own * MAX_RATIO / ZERO_DISTANCE)
            ratios[rows] = of_copies if median <= ZERO_DISTANCE else own / median
    return ratios


def robust_z_scores(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Robust standard deviations of each value from the median of its class, (x - median) / (1.4826 MAD): (N,).

    0 in a class that does not vary, and for NaN.
    """
    scores = torch.zeros_like(values)
    for label in range(classes):
        rows = labels == label
        if rows.any():
            deviation = values[rows] - values[rows].nanmedian()
            scale = 1.4826 * deviation.abs().nanmedian()
            scores[rows] = deviation / scale if float(scale) > 1e-6 else torch.zeros_like(deviation)
    return scores.nan_to_num(0.0)


def explain_outliers(measures: dict[str, Tensor], labels: Tensor, classes: int, rows: Tensor) -> list[str]:
    """For each of `rows` the measure with the largest robust z-score if that is 2.5 or more, else "unusual shape"."""
    names = list(measures)
    scores = torch.stack([robust_z_scores(measures[name], labels, classes) for name in names], 1)[rows]
    reasons = []
    for row, own in zip(rows.tolist(), scores, strict=True):
        column = int(own.abs().argmax())
        values = measures[names[column]]
        median = float(values[labels == int(labels[row])].nanmedian())
        if abs(float(own[column])) >= MIN_DEVIATIONS:
            reasons.append(f"{names[column]} {float(values[row]):.1f}, usual {median:.1f}")
        else:
            blank = "stroke" in measures and bool(measures["stroke"][row].isnan())
            reasons.append("no ink" if blank else "unusual shape")
    return reasons
