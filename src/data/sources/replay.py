"""Corrections mixed with the data that the network was trained on, so that it learns them and forgets nothing.

Showing old images among new ones is rehearsal (Robins 1995, Connection Science 7(2)).
"""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from uuid import uuid4

import torch
from torch import Tensor

from src.data.source import Source, Split
from src.data.sources.corrections import StoredCorrection, read_corrections
from src.data.splits import class_ranks, stratified, validation_mask
from src.errors import InputError, is_integer, is_number, require

log = logging.getLogger(__name__)
ALWAYS_LEARNT = 20  # the first so many pictures; of later ones a share is held out


@dataclass(frozen=True)
class ReplayMix:
    """What was added behind the original training images, and what an epoch shows of both.

    count: how many images were added; held_out: others, to measure by.
    replay: original images in an epoch at most; share: of the added ones among all, by showing each up to `repeats`
    times. version: another one for every reading of a store.
    """

    count: Callable[[], int]
    held_out: Callable[[], Split]
    replay: int | None = 10_000
    share: float = 0.3
    repeats: int = 50
    version: str = field(default_factory=lambda: uuid4().hex)

    def measured(self) -> "ReplayMix":
        """The same where the images held out are the test split."""
        return replace(self, version=f"{self.version} held out")

    def validated(self, labels: Tensor, *how) -> Tensor:
        """Mask (N,) of the images that validate: of the original ones as `validation_mask` says, and as large a share
        of each class of the added ones, rounded down, so that few of them are all learnt."""
        first = len(labels) - self.count()
        in_val, added = validation_mask(labels[:first], *how), labels[first:]
        most = (added.bincount() * in_val.double().mean()).floor().long()
        return torch.cat([in_val, class_ranks(added, 0) < most[added]])

    def epoch(self, rows: Tensor, labels: Tensor, seed: int) -> Tensor:
        """The rows that an epoch shows, added ones as often as they count; rows: those that may train."""
        first = len(labels) - self.count()
        original, added = rows[rows < first], rows[rows >= first]
        if self.replay is not None and self.replay < len(original):
            original = original[stratified(labels[original], self.replay, seed)]
        wanted = self.share / (1 - self.share) * len(original) / max(1, len(added))
        return torch.cat([original, added.repeat(min(self.repeats, max(1, round(wanted))))])


def mix_corrections(
    root: str,
    original: Source,
    replay: int | None = 10_000,
    share: float = 0.3,
    repeats: int = 50,
    held_out: float = 0.2,
) -> Source:
    """The training images of `original` and the corrections of a store behind them; its test split.

    held_out: share of the corrected pictures after the first 20 that never trains. Which ones, their pixels decide: a
    picture that measured once is not learnt when the store has grown.
    Nothing is read before a split is asked for; then raises InputError for what `read_corrections` refuses, a class
    that the original data do not have, or images of another shape.
    """
    require(root is not None, "data=feedback needs data.root=<feedback.sqlite, or the folder that holds it>")
    require(
        replay is None or (is_integer(replay) and replay >= 0),
        f"data.replay={replay}: a number of images, or null for all",
    )
    require(is_number(share) and 0 < share < 1, f"data.share={share}: above 0, below 1")
    require(is_integer(repeats) and repeats >= 1, f"data.repeats={repeats}: a whole number of at least 1")
    require(is_number(held_out) and 0 <= held_out < 1, f"data.held_out={held_out}: 0 or more, below 1")
    names = original.class_names

    @cache
    def parts() -> tuple[list[StoredCorrection], list[StoredCorrection]]:
        learnt, apart, corrections = [], [], read_corrections(root)
        check_names(corrections, names, root)
        for place, correction in enumerate(corrections):
            drawn = int.from_bytes(correction.key[:4], "big") < held_out * 2**32
            (apart if drawn and place >= ALWAYS_LEARNT else learnt).append(correction)
        rows = sum(1 + len(correction.earlier) for correction in corrections)
        twice = ", the last word on each counts" if rows > len(corrections) else ""
        said, seen = _counted(rows, "correction"), _counted(len(corrections), "picture")
        log.info("%s of %s%s; held out: %d", said, seen, twice, len(apart))
        return learnt, apart

    def as_split(corrections: list[StoredCorrection], shape: tuple[int, ...] | None = None) -> Split:
        for number, _, image, *_ in corrections:
            if shape is not None and tuple(image.shape) != shape:
                ours, theirs = ("x".join(map(str, size)) for size in (image.shape, shape))
                raise InputError(
                    f"data.root={root}: correction {number} is an image of {ours}, those of data.mix are of {theirs}: "
                    "give the data.mix that the network was trained on"
                )
        images = torch.stack([c.image for c in corrections]) if corrections else torch.empty(0, dtype=torch.uint8)
        return Split(images, torch.tensor([names.index(c.correction) for c in corrections], dtype=torch.long))

    def train() -> Split:
        learnt, apart = parts()  # the store first: it says what is wrong with it sooner
        with of_mix():
            images, labels = original.train()
        require(isinstance(images, Tensor), "corrections need the original data in memory: raise its memory_gb")
        shape = tuple(images.shape[1:])
        added = as_split(learnt, shape)
        as_split(apart, shape)
        return Split(torch.cat([images, added.images]), torch.cat([labels, added.labels]))

    def test() -> Split:
        with of_mix():
            return original.test()

    mix = ReplayMix(lambda: len(parts()[0]), lambda: as_split(parts()[1]), replay, share, repeats)
    return Source(names, train, test, replay=mix)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + "s" * (number != 1)


def check_names(corrections: list[StoredCorrection], names: tuple[str, ...], root: str) -> None:
    """Raise InputError for the first row that counts and names no class; a line for those that a later row replaced."""
    known = f"no class of data.mix ({', '.join(names[:40])})"
    for correction in corrections:
        if correction.correction not in names:
            raise InputError(
                f"data.root={root}: row {correction.id} of corrections says {correction.correction!r}, {known}: "
                "correct that picture again, delete the row, or give the data.mix that the network was trained on"
            )
    wrong = [row for correction in corrections for row in correction.earlier if row[1] not in names]
    if wrong:
        said = ", ".join(f"row {number} says {name!r}" for number, name in wrong[:8])
        log.info("%s: %s; later rows on the same pictures count", said, known)


@contextmanager
def of_mix(options: tuple[str, ...] = ()) -> Iterator[None]:
    """Errors of the original data name the keys that were typed: data.mix.root where they say data.root.

    options: keys of data.mix.options.
    """
    try:
        yield
    except InputError as error:
        said = re.sub(r"\bdata\.(name|root|ink|classes|quarter_turns)\b", r"data.mix.\1", str(error))
        for key in options:
            said = re.sub(rf"\bdata\.{re.escape(key)}\b", f"data.mix.options.{key}", said)
        raise InputError(said) from None
