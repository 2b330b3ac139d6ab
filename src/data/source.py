"""The interface of every data set: a source of two splits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from torch import Tensor


class Images(Protocol):
    """Images, uint8 (N, C, H, W): a tensor, or pictures that are decoded at each access."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The images at `index` (int64, 1-D) of dimension 0."""
        ...


class Split(NamedTuple):
    """Images and their labels: int64 (N,), each in 0..K-1."""

    images: Images
    labels: Tensor


@dataclass(frozen=True)
class Source:
    """A data set whose splits are read on demand, so that training never opens the test files.

    frame: brings images of another size to 28x28, unless data.ink=mnist does; None for a data set that needs none.
    version: part of the cache key; differs between readings of a source that changes on disk, None for all others.
    """

    class_names: tuple[str, ...]
    train: Callable[[], Split]
    test: Callable[[], Split]
    frame: Callable[[Tensor], Tensor] | None = None
    version: str | None = None

    few_labels: ClassVar[bool] = False  # too few to choose an epoch by
    transformable: ClassVar[bool] = True  # whether ink, classes, quarter turns and angles may change its images

    def validation_mask(self, labels: Tensor, split: Callable[[Tensor], Tensor]) -> Tensor:
        """Mask (N,) of the training images that validate. split: makes such a mask from labels (N,)."""
        return split(labels)

    def epoch_rows(self, rows: Tensor, labels: Tensor, seed: int) -> Tensor:
        """The rows of one epoch. rows: the images that may train; labels: (N,), of all training images."""
        return rows

    def target_data(self) -> "Source | None":
        """The source whose test split measures what fine-tuning gains; None if there is none."""
        return self
