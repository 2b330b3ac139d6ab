"""Labels that look wrong, from out-of-fold predictions: confident learning (Northcutt, Jiang and Chuang 2021).

https://arxiv.org/abs/1911.00068. An image's prediction comes from a classifier that has not seen it.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from src.errors import InputError, require


def sharpened(scores: Tensor, labels: Tensor) -> Tensor:
    """Scores (N, K) times the factor that makes their softmax fit the labels (N,) best: temperature (Guo et al. 2017).

    The factor is one of 49 from 0.01 to 10,000, evenly spaced in logarithm; the order within a row stays.
    """
    factors = torch.logspace(-2, 4, 49)
    losses = [float(F.cross_entropy(scores * factor, labels)) for factor in factors]
    return scores * factors[int(np.argmin(losses))]


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of the given label less that of the likeliest other: (N,), the lower the more suspicious.

    The normalised margin of Northcutt et al. in logarithms, which still tell apart what is surely wrong.
    """
    logs = logits.log_softmax(1)
    given = logs.gather(1, labels.unsqueeze(1)).squeeze(1)
    return given - logs.scatter(1, labels.unsqueeze(1), -torch.inf).amax(1)


def confident_label(probs: Tensor, labels: Tensor) -> Tensor:
    """The class that each image surely belongs to, -1 for none: int64 (N,).

    It is the likeliest class among those whose probability is at least its usual one: the mean over the images
    labelled so.
    """
    classes = probs.shape[1]
    counts = labels.bincount(minlength=classes)
    own = probs.gather(1, labels.unsqueeze(1)).squeeze(1)
    usual = torch.zeros(classes).index_add_(0, labels, own) / counts.clamp_min(1)
    usual[counts == 0] = torch.inf
    kept = probs.masked_fill(probs < usual, -1)
    best, column = kept.max(1)
    return column.masked_fill(best < 0, -1)


def confident_joint(probs: Tensor, labels: Tensor) -> Tensor:
    """Images by given label (row) and by the class they surely belong to (column): int64 (K, K)."""
    column, classes = confident_label(probs, labels), probs.shape[1]
    sure = column >= 0
    pairs = labels[sure] * classes + column[sure]
    return pairs.bincount(minlength=classes * classes).view(classes, classes)


def read_predictions(folder: str, rows: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Logits (N, K) of the training images `rows` (N,) from the predictions.npz of a sweep over folds.

    folder: of `python -m src.train -m data.folds=5 data.fold=0,1,2,3,4`. Where several jobs predicted an image, the
    mean of their probabilities, as logarithms.
    Raises InputError if there are none, they are of other labels or classes, or do not cover the images.
    """
    base = Path(folder).expanduser()
    files = sorted(base.rglob("predictions.npz"))
    hint = "python -m src.train -m data.folds=5 data.fold=0,1,2,3,4 writes them"
    require(bool(files), f"predictions={folder} holds no predictions.npz: {hint}")
    size = int(rows.max()) + 1
    truth = torch.full((size,), -1)
    truth[rows] = labels
    total, count = torch.zeros(size, classes), torch.zeros(size)
    for path in files:
        try:
            with np.load(path, allow_pickle=False) as file:
                index, given, logits = (torch.from_numpy(file[key]) for key in ("index", "labels", "logits"))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path} cannot be read ({error}): {hint}") from None
        require(
            logits.ndim == 2 and logits.shape[1] == classes,
            f"{path} is about {logits.shape[-1]} classes, the data have {classes}: give the data= it was trained on",
        )
        here = index < size
        index, given, logits = index[here], given[here], logits[here]
        known = truth[index] >= 0
        require(
            bool((truth[index] == given)[known].all()),
            f"{path} was made with other labels than these: give the data= it was trained on",
        )
        total.index_add_(0, index[known], logits[known].float().softmax(1))
        count.index_add_(0, index[known], torch.ones(int(known.sum())))
    missing = int((count[rows] == 0).sum())
    require(missing == 0, f"predictions={folder} leave out {missing:,} of {len(rows):,} images: {hint}")
    return (total[rows] / count[rows].unsqueeze(1)).clamp_min(1e-12).log()
