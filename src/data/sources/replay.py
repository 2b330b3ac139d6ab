"""Corrections mixed with the data that the network was trained on, so that it learns them and forgets nothing.

Replaying old examples among new ones is rehearsal (Robins 1995, Connection Science 7(2)).
"""

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
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
MOST_NAMED = 10  # classes in a message


class Corrections:
    """The corrections of a store that belong to a network, read once: those that train, and those held out.

    A store has corrections of any networks; to a network belong those of its classes, by name, and of its shape.
    held_out: share of the pictures after the first 20 that never trains. A picture's own pixels decide, so that it
    stays held out when the store has grown.
    training, held_out: empty until `select` has been called.
    """

    def __init__(self, root: str, class_names: tuple[str, ...], held_out: float):
        self.root, self.class_names, self.share = root, class_names, held_out
        self.training: list[StoredCorrection] = []
        self.held_out: list[StoredCorrection] = []

    @cached_property
    def found(self) -> list[StoredCorrection]:
        """All of the store. Raises InputError as `read_corrections`, or if none is of a class of the network."""
        found = read_corrections(self.root)
        if not any(name in self.class_names for correction in found for _, name in _rows(correction)):
            raise InputError(self._none_fits(found, f"classes {_join_names(self.class_names)}"))
        return found

    def select(self, shape: tuple[int, ...]) -> None:
        """Divide those that belong to a network of images of this shape (C, H, W); count the others in the log.

        Raises InputError as `found`, or if there are none.
        """
        kept: list[StoredCorrection] = []
        others: dict[str, list[str]] = defaultdict(list)  # classes of the rows of other networks, by shape
        rows = 0
        for correction in self.found:
            fits = tuple(correction.image.shape) == shape
            own = [row for row in _rows(correction) if fits and row[1] in self.class_names]
            others[_format_shape(correction.image.shape)] += [row[1] for row in _rows(correction) if row not in own]
            if own:
                *earlier, (last, name) = own
                kept.append(correction._replace(id=last, correction=name, superseded=tuple(earlier)))
                rows += len(own)
        if not kept:
            expected = f"classes {_join_names(self.class_names)}; {_format_shape(shape)}"
            raise InputError(self._none_fits(self.found, expected))
        self.training, self.held_out = [], []
        for index, correction in enumerate(kept):
            drawn = int.from_bytes(correction.digest[:4], "big") < self.share * 2**32
            (self.held_out if drawn and index >= ALWAYS_TRAINED else self.training).append(correction)
        counts = f"{_count(rows)} of {len(kept):,} picture{'s' * (len(kept) != 1)}"
        repeated = ", the last row of each counts" if rows > len(kept) else ""
        log.info("%s%s; held out: %d", counts, repeated, len(self.held_out))
        for size, names in others.items():
            if names:
                belong = f"belong{'s' * (len(names) == 1)} to another network (classes {_join_names(names)}; {size})"
                log.info("%s %s: left out", _count(len(names)), belong)

    def to_tensors(self, corrections: list[StoredCorrection]) -> tuple[Tensor, Tensor]:
        """Images and labels of one correction or more, of one shape."""
        labels = [self.class_names.index(c.correction) for c in corrections]
        return torch.stack([c.image for c in corrections]), torch.tensor(labels)

    def _none_fits(self, found: list[StoredCorrection], expected: str) -> str:
        names = [name for correction in found for _, name in _rows(correction)]
        shapes = ", ".join(sorted({_format_shape(correction.image.shape) for correction in found}))
        return (
            f"data.root={self.root}: no correction belongs to this network ({expected}); there {_are(len(names))} of "
            f"classes {_join_names(names)}; {shapes}: give the data.mix that the network was trained on"
        )


def _rows(correction: StoredCorrection) -> list[tuple[int, str]]:
    """Ids and classes of all rows about an image, the last one last."""
    return [*correction.superseded, (correction.id, correction.correction)]


def _count(corrections: int) -> str:
    return f"{corrections:,} correction{'s' * (corrections != 1)}"


def _are(corrections: int) -> str:
    return "is 1" if corrections == 1 else f"are {corrections:,}"


def _join_names(names: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct[:MOST_NAMED]) + f" and {len(distinct) - MOST_NAMED} more" * (len(distinct) > MOST_NAMED)


def _format_shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))


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

    def target_data(self) -> Source | None:
        """The corrections held out as the test split; None if there are none."""
        if not self.corrections.held_out:
            return None
        images, labels = self.corrections.to_tensors(self.corrections.held_out)
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
    Nothing is read before a split is needed; then raises InputError for what `read_corrections` refuses, and if no
    correction is of a class and of the shape of the original data.
    """
    require(root is not None, "data=feedback needs data.root=<feedback.sqlite, or the folder that holds it>")
    integer("data.replay", replay, 0, optional=True, unit="images")
    fraction("data.share", share, zero=False, one=False)
    positive_int("data.repeats", repeats)
    fraction("data.held_out", held_out, one=False)
    corrections = Corrections(root, original.class_names, held_out)

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
