"""Label errors found from out-of-fold predictions: confident learning (Northcutt, Jiang and Chuang 2021).

https://arxiv.org/abs/1911.00068. Each prediction comes from a classifier that was not trained on that image.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from src.errors import InputError, require

HINT = "python -m src.train -m data.folds=5 data.fold=0,1,2,3,4 writes them"


class LabelCheck(NamedTuple):
    """Labels compared with predictions; each field is (N,)."""

    prob: Tensor  # of the label
    other: Tensor  # the likeliest other class
    margin: Tensor  # log-probability of the label minus that of `other`
    confident: Tensor  # as `confident_label`
    differs: Tensor  # whether the predicted class is not the label
    doubted: Tensor  # whether the confident class is not the label either


def check_labels(logits: Tensor, labels: Tensor) -> LabelCheck:
    """Compare labels (N,) with out-of-fold logits (N, K)."""
    probs, column = logits.softmax(1), labels.unsqueeze(1)
    other = logits.scatter(1, column, -torch.inf).argmax(1)
    confident = confident_label(probs, labels)
    differs = logits.argmax(1) != labels
    doubted = differs & (confident >= 0) & (confident != labels)
    prob = probs.gather(1, column).squeeze(1)
    return LabelCheck(prob, other, label_margins(logits, labels), confident, differs, doubted)


def fit_scale(scores: Tensor, labels: Tensor) -> Tensor:
    """Scores (N, K) times the factor whose softmax fits the labels (N,) best: temperature scaling (Guo et al. 2017).

    The factor is one of 49 from 0.01 to 10,000, evenly spaced in logarithm; the order within a row stays.
    """
    return scores * min(torch.logspace(-2, 4, 49), key=lambda factor: float(F.cross_entropy(scores * factor, labels)))


def label_margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of the label minus that of the likeliest other class: (N,); lower is more suspicious.

    The normalised margin of Northcutt et al., in logarithms because these still separate the clearest errors.
    """
    log_probs = logits.log_softmax(1)
    column = labels.unsqueeze(1)
    return log_probs.gather(1, column).squeeze(1) - log_probs.scatter(1, column, -torch.inf).amax(1)


def confident_label(probs: Tensor, labels: Tensor) -> Tensor:
    """The likeliest class whose probability reaches its mean over the images of that label, -1 for none: int64 (N,)."""
    classes = probs.shape[1]
    counts = labels.bincount(minlength=classes)
    own = probs.gather(1, labels.unsqueeze(1)).squeeze(1)
    threshold = torch.zeros(classes).index_add_(0, labels, own) / counts.clamp_min(1)
    threshold[counts == 0] = torch.inf
    best, column = probs.masked_fill(probs < threshold, -1).max(1)
    return column.masked_fill(best < 0, -1)


def confident_joint(labels: Tensor, confident: Tensor, classes: int) -> Tensor:
    """Images by label (row) and confident class (column), those without one left out: int64 (K, K)."""
    known = confident >= 0
    pairs = labels[known] * classes + confident[known]
    return pairs.bincount(minlength=classes * classes).view(classes, classes)


def read_predictions(folder: str, rows: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Logits (N, K) of the training images `rows` (N,) from the predictions.npz of a sweep over folds.

    folder: of `python -m src.train -m data.folds=5 data.fold=0,1,2,3,4`. Where several jobs predict an image, the log
    of their mean probabilities.
    Raises InputError if there are none, if labels or classes differ, or if an image is missing.
    """
    files = sorted(Path(folder).expanduser().rglob("predictions.npz"))
    require(bool(files), f"predictions={folder} holds no predictions.npz: {HINT}")
    size = int(rows.max()) + 1
    expected = torch.full((size,), -1)
    expected[rows] = labels
    total, count = torch.zeros(size, classes), torch.zeros(size)
    for path in files:
        try:
            with np.load(path, allow_pickle=False) as file:
                index, file_labels, logits = (torch.from_numpy(file[key]) for key in ("index", "labels", "logits"))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path} cannot be read ({error}): {HINT}") from None
        require(
            logits.ndim == 2 and logits.shape[1] == classes,
            f"{path} has {logits.shape[-1]} classes, the data have {classes}: give the data= it was trained on",
        )
        inside = index < size
        index, file_labels, logits = index[inside], file_labels[inside], logits[inside]
        known = expected[index] >= 0
        require(
            bool((expected[index] == file_labels)[known].all()),
            f"{path} was made with other labels: give the data= it was trained on",
        )
        total.index_add_(0, index[known], logits[known].float().softmax(1))
        count.index_add_(0, index[known], torch.ones(int(known.sum())))
    missing = int((count[rows] == 0).sum())
    require(missing == 0, f"predictions={folder} leave out {missing:,} of {len(rows):,} images: {HINT}")
    return (total[rows] / count[rows].unsqueeze(1)).clamp_min(1e-12).log()
