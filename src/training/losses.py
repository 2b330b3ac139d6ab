"""Losses on logits, for labels (B,) or for target probabilities (B, K) as mixup makes them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.errors import InputError, as_typed, fraction, is_number, number, require


class DivergedError(InputError):
    """The loss is not finite."""


class _ClassLoss(nn.Module):
    """Options common to the losses: logits (B, K) and targets, int64 (B,) or probabilities (B, K), to a mean.

    label_smoothing: fraction of the target spread evenly over all classes (Szegedy et al. 2016), 0 to below 1.
    class_weights: None; "balanced", inversely proportional to `class_counts`; or one number per class. A weighted
    loss is a weighted mean.
    """

    weight: Tensor | None

    def __init__(
        self,
        label_smoothing: float = 0.0,
        class_weights: str | Sequence[float] | None = None,
        class_counts: Tensor | None = None,
    ):
        super().__init__()
        fraction("loss.label_smoothing", label_smoothing, one=False)
        self.label_smoothing = label_smoothing
        self.register_buffer("weight", _weights(class_weights, class_counts), persistent=False)

    def smooth(self, targets: Tensor, classes: int) -> Tensor:
        """Target probabilities (B, K), smoothed, of labels (B,) or of probabilities (B, K)."""
        probs = targets if targets.ndim == 2 else F.one_hot(targets, classes).float()
        return probs * (1 - self.label_smoothing) + self.label_smoothing / classes

    def mean(self, losses: Tensor, probs: Tensor) -> Tensor:
        """The weighted mean of one loss per image (B,), whose targets are `probs` (B, K)."""
        if self.weight is None:
            return losses.mean()
        weight = probs @ self.weight
        return (losses * weight).sum() / weight.sum()


class CrossEntropy(_ClassLoss):
    """Minus the log-probability of the target class, averaged."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, self.weight, label_smoothing=self.label_smoothing)


class Focal(_ClassLoss):
    """Cross-entropy that counts easy images less: (1 - p)^gamma times it (Lin et al. 2017, arXiv:1708.02002).

    gamma: 0 is cross-entropy; 2 is the paper's.
    """

    def __init__(self, gamma: float = 2.0, **shared):
        super().__init__(**shared)
        number("loss.gamma", gamma, least=0)
        self.gamma = gamma

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        probs, log_p = self.smooth(targets, logits.shape[1]), logits.log_softmax(1)
        return self.mean(-(probs * (1 - log_p.exp()).pow(self.gamma) * log_p).sum(1), probs)


class MeanSquaredError(_ClassLoss):
    """Squared distance between softmax probabilities and target probabilities (Brier 1950), summed over classes; for a
    regression target, float (B,), the squared error of the one output."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        if targets.ndim == 1 and targets.is_floating_point():
            return F.mse_loss(logits[:, 0], targets)
        probs = self.smooth(targets, logits.shape[1])
        return self.mean((logits.softmax(1) - probs).square().sum(1), probs)


def _weights(weights: str | Sequence[float] | None, counts: Tensor | None) -> Tensor | None:
    if weights is None:
        return None
    if isinstance(weights, str):
        require(
            weights == "balanced", f"loss.class_weights={weights}: null, balanced, or a list of numbers, one a class"
        )
        if counts is None or not bool((counts > 0).all()):
            raise InputError("loss.class_weights=balanced: a class has no images")
        return counts.sum() / (len(counts) * counts.float())
    if counts is not None and len(weights) != len(counts):
        raise InputError(f"loss.class_weights has {len(weights)} numbers, the data have {len(counts)} classes")
    require(
        all(is_number(weight) and weight >= 0 for weight in weights) and sum(weights) > 0,
        f"loss.class_weights={as_typed(list(weights))}: numbers of 0 or more, not all 0",
    )
    return torch.tensor(list(weights), dtype=torch.float32)
