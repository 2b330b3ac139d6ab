"""Temperature scaling: one divisor of the logits that makes probabilities match how often they are right."""

import logging
import math

from torch import Tensor
from torch.nn import functional as F

log = logging.getLogger(__name__)

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
FEW = 50  # images at which the prior and the label that counts as wrong have half their weight
PRIOR_SPREAD = 0.4  # standard deviation of log T: 95 % of temperatures are between 0.46 and 2.2
TOLERANCE = 0.001  # nats per image by which the loss may be higher than at temperature 1
BOUND_MARGIN = 1.01


def fit_temperature(logits: Tensor, labels: Tensor) -> float | None:
    """The temperature that makes labels likely under softmax(logits / temperature) (Guo et al. 2017,
    arXiv:1706.04599), close to 1 where images are few; None for no images.

    logits: (N, K > 1) of images that were not trained on; labels: int64 (N,).
    With a = N / (N + 50) the temperature T minimises the summed cross-entropy + (1 - a) (log T)² / (2 · 0.4²): the
    most probable T under log T ~ N(0, 0.4²) as N nears 0, the fit of Guo et al. as N grows. As in Platt (1999) each
    label counts as wrong, here a times in N + 2 images, so that a large split without a mistake gives no probability
    of 1. A fit that raises the cross-entropy of the labels by more than 0.001 over that of T = 1 is not kept: the
    answer is 1. That, and a temperature at its bound of 0.05 or 20, are logged.
    """
    from scipy.optimize import minimize_scalar

    count, classes = logits.shape
    if not count:
        return None
    logits, evidence = logits.double(), count / (count + FEW)
    wrong = evidence / (count + 2)
    targets = F.one_hot(labels, classes) * (1 - wrong - wrong / (classes - 1)) + wrong / (classes - 1)

    def loss(log_temperature: float) -> float:
        fit = float(F.cross_entropy(logits / math.exp(log_temperature), targets))
        return fit + (1 - evidence) * (log_temperature / PRIOR_SPREAD) ** 2 / (2 * count)

    bounds = math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)
    temperature = math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)
    before, after = (float(F.cross_entropy(logits / divisor, labels)) for divisor in (1.0, temperature))
    if after > before + TOLERANCE:
        log.info(
            "the probabilities stay as they are: a temperature of %.2f would raise the loss of the %s validation "
            "images from %.4f to %.4f", temperature, f"{count:,}", before, after,
        )  # fmt: skip
        return 1.0
    if not BOUND_MARGIN * MIN_TEMPERATURE < temperature < MAX_TEMPERATURE / BOUND_MARGIN:
        log.warning(
            "the temperature of the probabilities is at its bound of %.2f (%s validation images): they may be far from "
            "how often answers are right", temperature, f"{count:,}",
        )  # fmt: skip
    return temperature
