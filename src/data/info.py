"""What a network must know of the data it was trained on."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class DataInfo:
    """What a network must know of its data; plain values, kept in every checkpoint.

    shape: (C, H, W) of an image; mean, std: per channel, of training grey levels scaled to 0..1.
    target: what the number is that is to be estimated, in its unit (`angle_deg`), where there are no classes; scale: a
    network's output of 1 stands for so much of it.
    """

    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    target: str | None = None
    scale: float = 1.0

    @property
    def num_classes(self) -> int:
        """Outputs of a network: one per class, or one number."""
        return 1 if self.target else len(self.class_names)

    def plain(self) -> dict:
        """Lists, strings and numbers only; `Facts.of` reads it back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def of(cls, plain: dict) -> "DataInfo":
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()})
