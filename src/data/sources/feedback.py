"""Corrections from the page beside the data that the corrected network was trained on."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from uuid import uuid4

import torch
from torch import Tensor

from src.data.seen_images import image_digests
from src.data.source import Source, Split, join
from src.data.sources.correction_networks import CorrectedNetwork
from src.data.sources.correction_selection import Corrections
from src.data.sources.corrections import StoredCorrection
from src.data.splits import class_ranks
from src.errors import InputError, boolean, fraction, require


@dataclass(frozen=True)
class CorrectionsSource(Source):
    """Corrections as a data set of their own: of some of its classes there may be none."""

    few_labels = True


@dataclass(frozen=True, kw_only=True)
class FeedbackSource(Source):
    """The training images of original data followed by corrections; the test split of the original data.

    version: a new one for every reading, as the store grows.
    """

    original: Source
    corrections: Corrections
    version: str | None = field(default_factory=lambda: uuid4().hex)

    few_labels = True
    transformable = False

    @property
    def may_be_damaged(self) -> bool:
        return self.original.may_be_damaged

    def read_as(self, shape: tuple[int, int, int]) -> Source:
        found = self.corrections
        original = self.original.read_as(shape)
        if original is self.original:
            return self
        return add_corrections(found.root, found.network, original, found.share, found.other_data)

    def describe(self, cut: bool = True) -> str:
        return self.original.describe(cut)

    def validation_mask(self, labels: Tensor, split: Callable[[Tensor], Tensor]) -> Tensor:
        """`split` of the original images, and of each class of corrections the same share, rounded down, so that a few
        corrections all train."""
        count = self._originals(labels)
        original, added = split(labels[:count]), labels[count:]
        quotas = (added.bincount() * original.double().mean()).floor().long()
        return torch.cat([original, class_ranks(added, 0) < quotas[added]])

    def corrections_alone(self) -> Source:
        """The corrections as a data set of their own: those that train, and as its test split those held out."""

        def train() -> Split:
            data = self.train()
            rows = torch.arange(self._originals(data.labels), len(data.labels))
            return replace(data, in_val=None).select(rows, data.images.index_select(0, rows), data.labels[rows])

        def test() -> Split:
            return as_split(self.corrections, self.corrections.held_out, self.train())

        return CorrectionsSource(self.class_names, train, test, version=self.version)

    def renewal_test(self) -> Split:
        """The test split of the original data, task 0, followed by the corrections held out, task 1; after `train`."""
        data = self.test()
        return _in_tasks(join(data, as_split(self.corrections, self.corrections.held_out, data)), len(data.labels))

    def renewal_train(self) -> Split:
        """The training images of the original data, task 0, followed by the corrections, task 1."""
        data = self.train()
        return _in_tasks(data, self._originals(data.labels))

    def _originals(self, labels: Tensor) -> int:
        """How many training images are of the original data. labels: of all training images."""
        return len(labels) - len(self.corrections.training)

    def target_data(self) -> Source | None:
        """The corrections held out as the test split; None if there are none."""
        if not self.corrections.held_out:
            return None
        images, labels = self.corrections.to_tensors(self.corrections.held_out)
        return replace(self, test=lambda: Split(images, labels), version=f"{self.version} held out")


def add_corrections(
    root: str, network: CorrectedNetwork, original: Source, held_out: float = 0.2, other_data: bool = False
) -> FeedbackSource:
    """The training images of `original` followed by the corrections of a store; its test split.

    network, held_out, other_data: as for Corrections.
    Nothing is read before a split is needed; then raises InputError for what `read_corrections` refuses, and if no
    correction belongs to a network of the original data.
    """
    require(root is not None, "data=feedback needs data.root=<feedback.sqlite, or the folder that holds it>")
    fraction("data.held_out", held_out, one=False)
    boolean("data.other_data", other_data)
    corrections = Corrections(root, network, held_out, other_data)

    def train() -> Split:
        _ = corrections.found  # the store first: its errors come sooner
        with rename_mix_keys():
            data = original.train()
        if not isinstance(data.images, Tensor):
            raise InputError("corrections need the original data in memory: raise data.mix.options.memory_gb")
        corrections.select(tuple(data.images.shape[1:]))
        added = as_split(corrections, corrections.training, data)
        none = torch.zeros(len(added.labels), dtype=torch.bool)
        return replace(join(data, added), in_val=None if data.in_val is None else torch.cat([data.in_val, none]))

    test = rename_mix_keys()(original.test)
    return FeedbackSource(original.class_names, train, test, original=original, corrections=corrections)


def _in_tasks(data: Split, originals: int) -> Split:
    return replace(data, tasks=(torch.arange(len(data.labels)) >= originals).long())


def as_split(corrections: Corrections, chosen: list[StoredCorrection], beside: Split) -> Split:
    """Some of the corrections as a split that can be joined to `beside`, of the original data."""
    images, labels = corrections.to_tensors(chosen)
    names = None if beside.files is None else tuple(f"correction {one.id}" for one in chosen)
    return Split(images, labels, names, digests=None if beside.digests is None else image_digests(images))


@contextmanager
def rename_mix_keys(options: tuple[str, ...] = ()) -> Iterator[None]:
    """Let errors of the original data name the keys as typed: data.mix.root, or data.mix.options.* for `options`."""
    try:
        yield
    except InputError as error:
        message = re.sub(r"\bdata\.(name|root|ink|classes|quarter_turns)\b", r"data.mix.\1", str(error))
        for key in options:
            message = re.sub(rf"\bdata\.{re.escape(key)}\b", f"data.mix.options.{key}", message)
        raise InputError(message) from None
