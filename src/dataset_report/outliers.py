"""Images far from all others of their class, and in what they differ. Pure functions of tensors."""

import torch
from torch import Tensor

KTH = 5
BLOCK = 1000
LITTLE = 1e-3  # a distance below it may be rounding
MOST_TIMES = 1e4  # usual distances; beyond, what is usual is none
STRANGE = 2.5  # robust standard deviations from which a measure is named as a reason


def own_distances(vectors: Tensor, labels: Tensor, classes: int, kth: int = KTH) -> Tensor:
    """Distance of each image to the k-th nearest other of its class: (N,); NaN where it is the only one.

    vectors: float32 (N, D). A class of k images or fewer uses the farthest there is (Ramaswamy et al. 2000).
    """
    distances = vectors.new_full((len(vectors),), torch.nan)
    for label in range(classes):
        rows = (labels == label).nonzero().flatten()
        if len(rows) < 2:
            continue
        own, found = vectors[rows], []
        squares, across = own.square().sum(1), own.T.contiguous()
        for some in own.split(BLOCK):
            scores = torch.addmm(squares.unsqueeze(0).expand(len(some), -1), some, across, alpha=-2)
            # Itself is among them.
            kept = scores.topk(min(kth + 1, len(rows)), largest=False).values[:, -1] + some.square().sum(1)
            found.append(kept.clamp_min(0).sqrt())
        distances[rows] = torch.cat(found)
    return distances


def outlier_ratio(distances: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Each distance over the median of its class: (N,), 1 is usual; NaN stays.

    Where the median is 0, the images of its class being copies, 1 for 0 and above `MOST_TIMES` for all else.
    """
    odd = torch.full_like(distances, torch.nan)
    for label in range(classes):
        rows = labels == label
        if rows.any():
            own, usual = distances[rows], distances[rows].nanmedian()
            copies = torch.where(own <= LITTLE, 1.0, own * MOST_TIMES / LITTLE)
            odd[rows] = copies if usual <= LITTLE else own / usual
    return odd


def robust_scores(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Robust standard deviations of each value from its class' median, (x - median) / (1.4826 MAD): (N,).

    0 where the class does not vary, or the value is NaN.
    """
    scores = torch.zeros_like(values)
    for label in range(classes):
        rows = labels == label
        if rows.any():
            off = values[rows] - values[rows].nanmedian()
            scale = 1.4826 * off.abs().nanmedian()
            scores[rows] = off / scale if float(scale) > 1e-6 else torch.zeros_like(off)
    return scores.nan_to_num(0.0)


def reasons(measures: dict[str, Tensor], labels: Tensor, classes: int, rows: Tensor) -> list[str]:
    """Why each of `rows` is unlike its class: its strangest measure from 2.5 robust deviations on, or its shape."""
    names = list(measures)
    scores = torch.stack([robust_scores(measures[name], labels, classes) for name in names], 1)[rows]
    found = []
    for row, own in zip(rows.tolist(), scores, strict=True):
        place = int(own.abs().argmax())
        value, label = float(measures[names[place]][row]), int(labels[row])
        usual = float(measures[names[place]][labels == label].nanmedian())
        strange = abs(float(own[place])) >= STRANGE
        shape = "no ink" if "stroke" in measures and measures["stroke"][row].isnan() else "unusual shape"
        found.append(f"{names[place]} {value:.1f}, usual {usual:.1f}" if strange else shape)
    return found
