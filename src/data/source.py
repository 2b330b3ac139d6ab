"""What every data set hands over."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor


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


class Replay(Protocol):
    """Training images that were added behind the original ones (`src.data.sources.replay`).

    count: how many were added; held_out: others, to measure by; version: another one for every reading.
    """

    count: Callable[[], int]
    held_out: Callable[[], Split]
    version: str

    def measured(self) -> "Replay":
        """The same where the images held out are the test split."""
        ...

    def validated(self, labels: Tensor, *how) -> Tensor:
        """Mask (N,) of the images that validate."""
        ...

    def epoch(self, rows: Tensor, labels: Tensor, seed: int) -> Tensor:
        """The rows that an epoch shows; rows: those that may train."""
        ...


@dataclass(frozen=True)
class Source:
    """A data set whose splits are read when they are first asked for, so that training never opens the test files.

    frame: brings pictures of another size to 28x28 where nothing else does; None for pictures that need none.
    replay: what the last training images are where they were added to the original ones; None where all are original.
    """

    class_names: tuple[str, ...]
    train: Callable[[], Split]
    test: Callable[[], Split]
    frame: Callable[[Tensor], Tensor] | None = None
    replay: Replay | None = None
