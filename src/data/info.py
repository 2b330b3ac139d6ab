"""What a network must know of the data it was trained on."""

from dataclasses import asdict, dataclass
from typing import Any

from src.data.output import ClassOutput, NumberOutput, Output


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
