"""What a network must know of the data it was trained on, and what its outputs mean.

`DataInfo.output` tells classification from regression; code elsewhere asks it.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from src.errors import InputError


@dataclass(frozen=True)
class ClassOutput:
    """One logit per class; labels are int64 (N,)."""

    class_names: tuple[str, ...]
    is_number = False
    monitor = "val/acc"
    output_name = "probabilities"  # of `predictions` in exported files
    scale = 1.0

    def require_classes(self, option: str, advice: str = "") -> None:
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
    output_name = "value"

    @property
    def quantity(self) -> str:
        """The name without its unit."""
        return self.name.rpartition("_")[0]

    def require_classes(self, option: str, advice: str = "") -> None:
        """Raise InputError for an option that is for classes only; advice: what to do instead."""
        raise InputError(f"{option}: this network estimates a number, {self.name}{f'; {advice}' if advice else ''}")

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
        return f"{value * self.scale:.1f} {self.name.rpartition('_')[2]}"


Output = ClassOutput | NumberOutput


@dataclass(frozen=True)
class DataInfo:
    """Shape, classes and statistics of the training data; plain values, stored in every checkpoint.

    shape: (C, H, W) of an image; mean, std: per channel, of training grey levels scaled to 0..1.
    target: the number that a regression network estimates, with its unit (`angle_deg`); None for a classifier.
    scale: the value, in that unit, that a network's output of 1 stands for.
    """

    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    target: str | None = None
    scale: float = 1.0

    @property
    def output(self) -> Output:
        """What the outputs of a network of these data mean."""
        return NumberOutput(self.target, self.scale) if self.target else ClassOutput(self.class_names)

    @property
    def num_classes(self) -> int:
        """Outputs of a network: one per class, or one number."""
        return 1 if self.target else len(self.class_names)

    def to_dict(self) -> dict[str, Any]:
        """Lists, strings and numbers only; `from_dict` reads it back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DataInfo":
        """The inverse of `to_dict`."""
        fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**fields)
