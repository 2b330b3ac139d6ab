"""Corrections mixed with the data that the network was trained on, so that it learns them and forgets nothing.

Replaying old examples among new ones is rehearsal (Robins 1995, Connection Science 7(2)).
"""

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
from src.data.splits import class_ranks, stratified_mask
from src.errors import InputError, boolean, fraction, integer, positive_int, require


@dataclass(frozen=True, kw_only=True)
class ReplaySource(Source):
    """The training images of original data followed by corrections; the test split of the original data.

    replay: original images per epoch at most, None for all. share: of corrections among the images of an epoch, reached
    by repeating each up to `repeats` times. version: a new one for every reading, as the store grows.
    """

    original: Source
    corrections: Corrections
    replay: int | None
    share: float
    repeats: int
    version: str | None = field(default_factory=lambda: uuid4().hex)

    few_labels = True
    transformable = False

    @property
    def may_be_damaged(self) -> bool:
        return self.original.may_be_damaged

    def read_as(self, shape: tuple[int, int, int]) -> Source:
        found = self.corrections
        original, options = self.original.read_as(shape), (self.replay, self.share, self.repeats)
        if original is self.original:
            return self
        return mix_corrections(found.root, found.network, original, *options, found.share, found.other_data)

    def describe(self, cut: bool = True) -> str:
        return self.original.describe(cut)

    def validation_mask(self, labels: Tensor, split: Callable[[Tensor], Tensor]) -> Tensor:
        """`split` of the original images, and of each class of corrections the same share, rounded down, so that a few
        corrections all train."""
        count = len(labels) - len(self.corrections.training)
        original, added = split(labels[:count]), labels[count:]
        quotas = (added.bincount() * original.double().mean()).floor().long()
        return torch.cat([original, class_ranks(added, 0) < quotas[added]])

    def epoch_rows(self, rows: Tensor, labels: Tensor, seed: int) -> Tensor:
        """At most `replay` original images, every class in proportion, and each correction several times."""
        count = len(labels) - len(self.corrections.training)
        original, added = rows[rows < count], rows[rows >= count]
        if self.replay is not None and self.replay < len(original):
            original = original[stratified_mask(labels[original], self.replay, seed)]
        wanted = self.share / (1 - self.share) * len(original) / max(1, len(added))
        return torch.cat([original, added.repeat(min(self.repeats, max(1, round(wanted))))])

    def describe_rows(self, rows: Tensor) -> str:
        counts = rows.bincount()
        times = int(counts.max()) if len(counts) else 0
        if times < 2:
            return ""
        many = int(counts[counts > 1].sum())
        return f"each correction is repeated {times} times (data.share, data.repeats): {many:,} of the {len(rows):,}"

    def corrections_alone(self) -> Source:
        """The corrections as a data set of their own: those that train, and as its test split those held out."""

        def train() -> Split:
            data = self.train()
            rows = torch.arange(len(data.labels) - len(self.corrections.training), len(data.labels))
            return replace(data, in_val=None).select(rows, data.images.index_select(0, rows), data.labels[rows])

        def test() -> Split:
            _ = self.train()  # which says of what shape the pictures are
            return Split(*self.corrections.to_tensors(self.corrections.held_out))

        return Source(self.class_names, train, test, version=self.version)

    def target_data(self) -> Source | None:
        """The corrections held out as the test split; None if there are none."""
        if not self.corrections.held_out:
            return None
        images, labels = self.corrections.to_tensors(self.corrections.held_out)
        return replace(self, test=lambda: Split(images, labels), version=f"{self.version} held out")


def mix_corrections(
    root: str,
    network: CorrectedNetwork,
    original: Source,
    replay: int | None = 10_000,
    share: float = 0.3,
    repeats: int = 50,
    held_out: float = 0.2,
    other_data: bool = False,
) -> ReplaySource:
    """The training images of `original` followed by the corrections of a store; its test split.

    network, held_out, other_data: as for Corrections; the others: as for ReplaySource.
    Nothing is read before a split is needed; then raises InputError for what `read_corrections` refuses, and if no
    correction belongs to a network of the original data.
    """
    require(root is not None, "data=feedback needs data.root=<feedback.sqlite, or the folder that holds it>")
    integer("data.replay", replay, 0, optional=True, unit="images")
    fraction("data.share", share, zero=False, one=False)
    positive_int("data.repeats", repeats)
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
        training = corrections.training
        images, labels = corrections.to_tensors(training)
        names = None if data.files is None else tuple(f"correction {one.id}" for one in training)
        digests = None if data.digests is None else image_digests(images)
        joined = join(data, Split(images, labels, names, digests=digests))
        in_val = None if data.in_val is None else torch.cat([data.in_val, torch.zeros(len(labels), dtype=torch.bool)])
        return replace(joined, in_val=in_val)

    test = rename_mix_keys()(original.test)
    return ReplaySource(
        original.class_names,
        train,
        test,
        original=original,
        corrections=corrections,
        replay=replay,
        share=share,
        repeats=repeats,
    )


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
