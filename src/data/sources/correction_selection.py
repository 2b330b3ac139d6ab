"""The corrections of a store that belong to a network, and a line about those that do not."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from src.data.sources.correction_networks import CorrectedNetwork
from src.data.sources.corrections import StoredCorrection, read_corrections
from src.errors import InputError

log = logging.getLogger(__name__)
ALWAYS_TRAINED = 20  # the first so many pictures; a share of later ones is held out
MOST_NAMED = 10  # classes in a message


class _Row(NamedTuple):
    """A row of the store; network: that answered, None for a row of version 1, which does not say."""

    id: int
    correction: str
    network: CorrectedNetwork | None


class Corrections:
    """The corrections of a store that belong to a network, read once: those that train, and those held out.

    A store has corrections of any networks; to a network belong those of networks of the same classes, in any order,
    that were trained on the same data and read images of the same shape. Where a row does not say which network
    answered, its class and shape decide.
    network: its classes, and the data that the corrections are mixed with.
    held_out: share of the pictures after the first 20 that never trains. A picture's own pixels decide, so that it
    stays held out when the store has grown.
    other_data: take corrections of networks that were trained on other data too.
    training, held_out: empty until `select` has been called.
    """

    def __init__(self, root: str, network: CorrectedNetwork, held_out: float, other_data: bool = False):
        self.root, self.network, self.share, self.other_data = root, network, held_out, other_data
        self.training: list[StoredCorrection] = []
        self.held_out: list[StoredCorrection] = []
        self.shape: tuple[int, ...] = ()

    @cached_property
    def found(self) -> list[StoredCorrection]:
        """All of the store. Raises InputError as `read_corrections`, or if none is of the classes and the data."""
        found = read_corrections(self.root)
        if not any(self._has_classes(row) and self._has_data(row) for one in found for row in _rows(one)):
            raise InputError(self._none_fits(found, f"classes {_join_names(self.network.class_names)}"))
        return found

    def select(self, shape: tuple[int, ...]) -> None:
        """Divide those that belong to a network of images of this shape (C, H, W); count the others in the log.

        Raises InputError as `found`, or if there are none.
        """
        self.shape = shape
        kept: list[StoredCorrection] = []
        others: dict[tuple, list[_Row]] = defaultdict(list)  # of other classes or shapes
        elsewhere: dict[str, int] = defaultdict(int)  # rows of the same classes of other data
        rows = 0
        for correction in self.found:
            own = []
            for row in _rows(correction):
                if tuple(correction.image.shape) != shape or not self._has_classes(row):
                    others[_format_shape(correction.image.shape), row.network and row.network.class_names].append(row)
                elif row.network is not None and not self._has_data(row):
                    elsewhere[row.network.describe_data()] += 1
                else:
                    own.append(row)
            if own:
                superseded = tuple((row.id, row.correction) for row in own[:-1])
                kept.append(correction._replace(id=own[-1].id, correction=own[-1].correction, superseded=superseded))
                rows += len(own)
        if not kept:
            expected = f"classes {_join_names(self.network.class_names)}; {_format_shape(shape)}"
            raise InputError(self._none_fits(self.found, expected))
        self.training, self.held_out = [], []
        for index, correction in enumerate(kept):
            drawn = int.from_bytes(correction.digest[:4], "big") < self.share * 2**32
            (self.held_out if drawn and index >= ALWAYS_TRAINED else self.training).append(correction)
        counts = f"{_count(rows)} of {len(kept):,} picture{'s' * (len(kept) != 1)}"
        repeated = ", the last row of each counts" if rows > len(kept) else ""
        log.info("%s%s; held out: %d", counts, repeated, len(self.held_out))
        for (size, classes), left in others.items():
            belong = f"belong{'s' * (len(left) == 1)} to another network"
            names = _join_names(classes or (row.correction for row in left))
            log.info("%s %s (classes %s; %s): left out", _count(len(left)), belong, names, size)
        for data, count in elsewhere.items():
            log.info("%s", self._describe_other_data(data, count))

    def to_tensors(self, corrections: list[StoredCorrection]) -> tuple[Tensor, Tensor]:
        """Their images (N, C, H, W) and labels (N,); after `select`."""
        labels = [self.network.class_names.index(c.correction) for c in corrections]
        images = [c.image for c in corrections] or [torch.empty(0, *self.shape, dtype=torch.uint8)]
        return torch.stack(images) if corrections else images[0], torch.tensor(labels, dtype=torch.long)

    def _has_classes(self, row: _Row) -> bool:
        same = row.network is None or row.network.has_classes_of(self.network)
        return same and row.correction in self.network.class_names

    def _has_data(self, row: _Row) -> bool:
        return self.other_data or row.network is None or row.network.has_data_of(self.network)

    def _describe_other_data(self, data: str, count: int) -> str:
        made = f"{'was' if count == 1 else 'were'} made with a network of the same classes that was trained on {data}"
        return (
            f"{_count(count)} {made}, this one on {self.network.describe_data()}: left out; data.other_data=true takes "
            "such corrections"
        )

    def _none_fits(self, found: list[StoredCorrection], expected: str) -> str:
        rows = [row for correction in found for row in _rows(correction)]
        names = _join_names(row.correction for row in rows)
        shapes = ", ".join(sorted({_format_shape(correction.image.shape) for correction in found}))
        message = (
            f"data.root={self.root}: no correction belongs to this network ({expected}); there {_are(len(rows))} of "
            f"classes {names}; {shapes}"
        )
        if not any(map(self._has_classes, rows)):
            return f"{message}: give the data.mix and init_from=<a network of those classes>"
        other = {row.network.describe_data() for row in rows if row.network and not self._has_data(row)}
        if not other:
            return f"{message}: give the data.mix that the network was trained on"
        made = f"made with networks trained on {', '.join(sorted(other))}, this one on {self.network.describe_data()}"
        return f"{message}, {made}: give the data.mix of those, or data.other_data=true, which takes such corrections"


def _rows(correction: StoredCorrection) -> list[_Row]:
    """All rows about an image, the last one last."""
    rows = [*correction.superseded, (correction.id, correction.correction)]
    return [_Row(*row, network) for row, network in zip(rows, correction.networks, strict=True)]


def _count(corrections: int) -> str:
    return f"{corrections:,} correction{'s' * (corrections != 1)}"


def _are(corrections: int) -> str:
    return "is 1" if corrections == 1 else f"are {corrections:,}"


def _join_names(names: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct[:MOST_NAMED]) + f" and {len(distinct) - MOST_NAMED} more" * (len(distinct) > MOST_NAMED)


def _format_shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))
