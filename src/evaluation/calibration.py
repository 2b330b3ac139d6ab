"""Probabilities that mean what they say: one number, the temperature, that logits are divided by."""

import math

from torch import Tensor
from torch.nn import functional as F

COLDEST, WARMEST = 0.05, 20.0


def fit_temperature(logits: Tensor, labels: Tensor) -> float | None:
    """The temperature by which softmax(logits / temperature) is most likely right (Guo et al. 2017, arXiv:1706.04599).

    logits: (N, K > 1) of images that were not trained on; labels: int64 (N,). As in Platt (1999), each label counts as
    wrong once in N + 2 images, so that a split without a mistake makes no probability of 1. None for no images.
    """
    from scipy.optimize import minimize_scalar

    count, classes = logits.shape
    if not count:
        return None
    logits, wrong = logits.double(), 1 / (count + 2)
    targets = F.one_hot(labels, classes) * (1 - wrong - wrong / (classes - 1)) + wrong / (classes - 1)

    def surprise(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / math.exp(log_temperature), targets))

    found = minimize_scalar(surprise, bounds=(math.log(COLDEST), math.log(WARMEST)), method="bounded")
    return math.exp(found.x)
