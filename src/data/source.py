"""What every data set hands over."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from src.data.mixture import Mixture


class Images(Protocol):
    """A (N, C, H, W) uint8 tensor, or pictures that are decoded when they are asked for."""

    shape: tuple[int, ...]

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The images at `index` (int64, 1-D) of dimension 0."""
        ...


class Split(NamedTuple):
    """Images and their labels: int64 (N,), each in 0..K-1."""

    images: Images
    labels: Tensor


@dataclass(frozen=True)
class Source:
    """A data set whose splits are read when they are first asked for, so that training never opens the test files.

    frame: brings pictures of another size to 28x28 where nothing else does; None for pictures that need none.
    mixed: what the last training images are where they were added to the original ones; None where all are original.
    """

    class_names: tuple[str, ...]
    train: Callable[[], Split]
    test: Callable[[], Split]
    frame: Callable[[Tensor], Tensor] | None = None
    mixed: "Mixture | None" = None


@dataclass(frozen=True)
class Facts:
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
    def of(cls, plain: dict) -> "Facts":
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()})
