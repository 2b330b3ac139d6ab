"""What every data set hands over."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from src.data.sources.replay import ReplayMix


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
    mixed: "ReplayMix | None" = None
