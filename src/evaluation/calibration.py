"""Temperature scaling: one divisor of the logits that makes probabilities match how often they are right."""

import math

from torch import Tensor
from torch.nn import functional as F

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0


def fit_temperature(logits: Tensor, labels: Tensor) -> float | None:
    """The temperature that makes labels most likely under softmax(logits / temperature) (Guo et al. 2017,
    arXiv:1706.04599); None for no images.

    logits: (N, K > 1) of images that were not trained on; labels: int64 (N,). As in Platt (1999), each label counts as
    wrong once in N + 2 images, so that a split without a mistake gives no probability of 1.
    """
    from scipy.optimize import minimize_scalar

    count, classes = logits.shape
    if not count:
        return None
    logits, wrong = logits.double(), 1 / (count + 2)
    targets = F.one_hot(labels, classes) * (1 - wrong - wrong / (classes - 1)) + wrong / (classes - 1)

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits / math.exp(log_temperature), targets))

    bounds = math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)
