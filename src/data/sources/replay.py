"""Corrections mixed with the data that the network was trained on, so that it learns them and forgets nothing.

Replaying old examples among new ones is rehearsal (Robins 1995, Connection Science 7(2)).
"""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from uuid import uuid4

import torch
from torch import Tensor

from src.data.source import Source, Split, join
from src.data.sources.corrections import StoredCorrection, read_corrections
from src.data.splits import class_ranks, stratified_mask
from src.errors import InputError, fraction, integer, positive_int, require

log = logging.getLogger(__name__)
ALWAYS_TRAINED = 20  # the first so many pictures; a share of later ones is held out


class Corrections:
    """The corrections of a store, read once: those that train, and those held out to measure the gain.

    held_out: share of the pictures after the first 20 that never trains. A picture's own pixels decide, so that it
    stays held out when the store has grown.
    """

    def __init__(self, root: str, class_names: tuple[str, ...], held_out: float):
        self.root, self.class_names, self.share = root, class_names, held_out

    @cached_property
    def partition(self) -> tuple[list[StoredCorrection], list[StoredCorrection]]:
        """Those that train, those held out. Raises InputError as `read_corrections`, or for an unknown class."""
        found = read_corrections(self.root)
        self._check_classes(found)
        training: list[StoredCorrection] = []
        held_out: list[StoredCorrection] = []
        for index, correction in enumerate(found):
            drawn = int.from_bytes(correction.digest[:4], "big") < self.share * 2**32
            (held_out if drawn and index >= ALWAYS_TRAINED else training).append(correction)
        rows = sum(1 + len(correction.superseded) for correction in found)
        counts = f"{rows:,} correction{'s' * (rows != 1)} of {len(found):,} picture{'s' * (len(found) != 1)}"
        repeated = ", the last row of each counts" if rows > len(found) else ""
        log.info("%s%s; held out: %d", counts, repeated, len(held_out))
        return training, held_out

    def check_shapes(self, shape: tuple[int, ...]) -> None:
        """Raise InputError for the first image of another shape."""
        for correction in (*self.partition[0], *self.partition[1]):
            if tuple(correction.image.shape) != shape:
                actual, expected = ("x".join(map(str, size)) for size in (correction.image.shape, shape))
                raise InputError(
                    f"data.root={self.root}: correction {correction.id} is an image of {actual}, those of data.mix are "
                    f"of {expected}: give the data.mix that the network was trained on"
                )

    def to_tensors(self, corrections: list[StoredCorrection]) -> tuple[Tensor, Tensor]:
        """Images and labels of one correction or more, of one shape."""
        labels = [self.class_names.index(c.correction) for c in corrections]
        return torch.stack([c.image for c in corrections]), torch.tensor(labels)

    def _check_classes(self, corrections: list[StoredCorrection]) -> None:
        """Refuse the first row that counts and names an unknown class; log superseded rows that do."""
        unknown = f"no class of data.mix ({', '.join(self.class_names[:40])})"
        for correction in corrections:
            require(
                correction.correction in self.class_names,
                f"data.root={self.root}: row {correction.id} of corrections says {correction.correction!r}, {unknown}: "
                "correct that picture again, delete the row, or give the data.mix that the network was trained on",
            )
        wrong = [row for c in corrections for row in c.superseded if row[1] not in self.class_names]
        if wrong:
            rows = ", ".join(f"row {row_id} says {name!r}" for row_id, name in wrong[:8])
            log.info("%s: %s; later rows on the same pictures count", rows, unknown)


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
        original, options = self.original.read_as(shape), (self.replay, self.share, self.repeats, found.share)
        return self if original is self.original else mix_corrections(found.root, original, *options)

    def describe(self, cut: bool = True) -> str:
        return self.original.describe(cut)

    def validation_mask(self, labels: Tensor, split: Callable[[Tensor], Tensor]) -> Tensor:
        """`split` of the original images, and of each class of corrections the same share, rounded down, so that a few
        corrections all train."""
        count = len(labels) - len(self.corrections.partition[0])
        original, added = split(labels[:count]), labels[count:]
        quotas = (added.bincount() * original.double().mean()).floor().long()
        return torch.cat([original, class_ranks(added, 0) < quotas[added]])

    def epoch_rows(self, rows: Tensor, labels: Tensor, seed: int) -> Tensor:
        """At most `replay` original images, every class in proportion, and each correction several times."""
        count = len(labels) - len(self.corrections.partition[0])
        original, added = rows[rows < count], rows[rows >= count]
        if self.replay is not None and self.replay < len(original):
            original = original[stratified_mask(labels[original], self.replay, seed)]
        wanted = self.share / (1 - self.share) * len(original) / max(1, len(added))
        return torch.cat([original, added.repeat(min(self.repeats, max(1, round(wanted))))])

    def target_data(self) -> Source | None:
        """The corrections held out as the test split; None if there are none."""
        _, held_out = self.corrections.partition
        if not held_out:
            return None
        images, labels = self.corrections.to_tensors(held_out)
        return replace(self, test=lambda: Split(images, labels), version=f"{self.version} held out")


def mix_corrections(
    root: str,
    original: Source,
    replay: int | None = 10_000,
    share: float = 0.3,
    repeats: int = 50,
    held_out: float = 0.2,
) -> ReplaySource:
    """The training images of `original` followed by the corrections of a store; its test split.

    held_out: as for Corrections; the others: as for ReplaySource.
    Nothing is read before a split is needed; then raises InputError for what `read_corrections` refuses, a class that
    the original data do not have, or images of another shape.
    """
    require(root is not None, "data=feedback needs data.root=<feedback.sqlite, or the folder that holds it>")
    integer("data.replay", replay, 0, optional=True, unit="images")
    fraction("data.share", share, zero=False, one=False)
    positive_int("data.repeats", repeats)
    fraction("data.held_out", held_out, one=False)
    corrections = Corrections(root, original.class_names, held_out)

    def train() -> Split:
        training, _ = corrections.partition  # the store first: its errors come sooner
        with rename_mix_keys():
            data = original.train()
        if not isinstance(data.images, Tensor):
            raise InputError("corrections need the original data in memory: raise data.mix.options.memory_gb")
        corrections.check_shapes(tuple(data.images.shape[1:]))
        images, labels = corrections.to_tensors(training)
        names = None if data.files is None else tuple(f"correction {one.id}" for one in training)
        joined = join(data, Split(images, labels, names))
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
