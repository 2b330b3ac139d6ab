"""What the outputs of a network mean: a score per class, or one number that is estimated.

The only place that tells classification from regression; everything else asks `DataInfo.output`.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from src.errors import InputError


@dataclass(frozen=True)
class ClassOutput:
    """One logit per class; labels are int64 (N,)."""

    class_names: tuple[str, ...]
    is_number = False
    monitor = "val/acc"
    field = "probabilities"  # the name of `predictions` in exported files
    scale = 1.0

    def require_classes(self, option: str, reason: str = "") -> None:
        """Accept an option that is for classes only."""

    def predictions(self, outputs: Tensor, temperature: float | None = None) -> Tensor:
        """Probabilities (N, K) of logits (N, K), calibrated by the temperature."""
        return (outputs / (temperature or 1.0)).softmax(1)

    def metric_inputs(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (N, K) and labels (N,)."""
        return outputs.softmax(1), labels

    def loss(self, outputs: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
        """Cross-entropy; of each image, (N,), with reduction="none"."""
        return F.cross_entropy(outputs, labels, reduction=reduction)

    def format(self, value: float, column: int) -> str:
        """The name of the class of an output column."""
        return self.class_names[column]


@dataclass(frozen=True)
class NumberOutput:
    """One number; an output or a label of 1 stands for `scale` in its unit; labels are float32 (N,).

    name: with its unit behind the last underscore, as in angle_deg.
    """

    name: str
    scale: float
    is_number = True
    monitor = "val/mae"
    field = "value"

    @property
    def quantity(self) -> str:
        """The name without its unit."""
        return self.name.rpartition("_")[0]

    @property
    def unit(self) -> str:
        return self.name.rpartition("_")[2]

    def require_classes(self, option: str, reason: str = "") -> None:
        """Raise InputError for an option that is for classes only; reason: why, and what to do."""
        raise InputError(f"{option}: this network estimates a number, {self.name}{f'; {reason}' if reason else ''}")

    def predictions(self, outputs: Tensor, temperature: float | None = None) -> Tensor:
        """The number in its unit, (N, 1)."""
        return outputs * self.scale

    def metric_inputs(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Estimates (N,) and true values (N,) in their unit."""
        return outputs[:, 0] * self.scale, labels * self.scale

    def loss(self, outputs: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
        """Squared error in units of the scale; of each image, (N,), with reduction="none"."""
        return F.mse_loss(outputs[:, 0], labels, reduction=reduction)

    def format(self, value: float, column: int) -> str:
        """An output in its unit."""
        return f"{value * self.scale:.1f} {self.unit}"


Output = ClassOutput | NumberOutput
