"""The interface of every data set: a source of two splits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor


class Images(Protocol):
    """Images, uint8 (N, C, H, W): a tensor, or pictures that are decoded at each access."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        """The images at `index` (int64, 1-D) of dimension 0."""
        ...


def in_memory(images: Images) -> bool:
    """Whether images are held in memory, and not decoded at each access."""
    return isinstance(images, Tensor) or getattr(images, "in_memory", False)


@dataclass(frozen=True)
class Split:
    """Images and their labels: int64 (N,), each in 0..K-1. It unpacks as these two.

    files: of each image, relative to the data set's folder; None for images that have none of their own.
    in_val: mask (N,) of training images that the data set itself sets aside for validation; None if it does not.
    skipped: files that could not be read, each with the reason.
    digests: of the pictures, int64 (N,), as of `src.data.seen_images`; None for data sets that do not change.
    tasks: of each image, int64 (N,), from 0 (`src.data.scenario`); None for data that do not arrive in tasks.
    """

    images: Images
    labels: Tensor
    files: tuple[str, ...] | None = None
    in_val: Tensor | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    digests: Tensor | None = None
    tasks: Tensor | None = None

    def __iter__(self) -> Iterator:
        return iter((self.images, self.labels))

    def strata(self, names: tuple[str, ...]) -> tuple[Tensor, tuple[str, ...]]:
        """What splits and draws keep in proportion, int64 (N,), and its names: classes; with tasks, those of each."""
        if self.tasks is None:
            return self.labels, names
        pairs, strata = (self.tasks * len(names) + self.labels).unique(return_inverse=True)
        return strata, tuple(f"{names[pair % len(names)]} of task {pair // len(names) + 1}" for pair in pairs.tolist())

    def select(self, rows: Tensor, images: Images, labels: Tensor) -> "Split":
        """The same split of these rows only, with their images and labels."""
        files = self.files and tuple(self.files[row] for row in rows.tolist())
        in_val = None if self.in_val is None else self.in_val[rows]
        digests, tasks = (None if part is None else part[rows] for part in (self.digests, self.tasks))
        return Split(images, labels, files, in_val, self.skipped, digests, tasks)


class JoinedImages:
    """Images of two splits, one after the other, not held in memory."""

    def __init__(self, first: Images, second: Images):
        self.parts, self.count = (first, second), first.shape[0]
        self.shape = (self.count + second.shape[0], *first.shape[1:])

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        first, second = self.parts
        is_second = index >= self.count
        found = torch.empty(len(index), *self.shape[1:], dtype=torch.uint8)
        found[~is_second] = first.index_select(0, index[~is_second]) if not is_second.all() else found[:0]
        found[is_second] = second.index_select(0, index[is_second] - self.count) if is_second.any() else found[:0]
        return found


def join(first: Split, second: Split) -> Split:
    """Two splits of images of one shape as one."""
    if isinstance(first.images, Tensor) and isinstance(second.images, Tensor):
        images: Images = torch.cat([first.images, second.images])
    else:
        images = JoinedImages(first.images, second.images)
    files = None if first.files is None or second.files is None else first.files + second.files
    digests = None if first.digests is None or second.digests is None else torch.cat([first.digests, second.digests])
    tasks = None if first.tasks is None or second.tasks is None else torch.cat([first.tasks, second.tasks])
    labels = torch.cat([first.labels, second.labels])
    return Split(images, labels, files, skipped=first.skipped + second.skipped, digests=digests, tasks=tasks)


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

    @property
    def may_be_damaged(self) -> bool:
        """Whether its test images are to be read before training, so that a damaged one is found there."""
        return False

    def read_as(self, shape: tuple[int, int, int]) -> "Source":
        """The same data set with images of the shape that a network reads, where the source can choose."""
        return self

    def read_ink(self) -> "Source | None":
        """The same data set in MNIST's form, where the source reads pictures; None where images are to be changed."""
        return None

    def describe(self, cut: bool = True) -> str:
        """What was read, how, and what was left out, once images are read; empty for a known data set.

        cut: whether splits that the source cuts itself matter.
        """
        return ""

    def validation_mask(self, labels: Tensor, split: Callable[[Tensor], Tensor]) -> Tensor:
        """Mask (N,) of the training images that validate. split: makes such a mask from labels (N,)."""
        return split(labels)

    def target_data(self) -> "Source | None":
        """The source whose test split measures what fine-tuning gains; None if there is none."""
        return self
