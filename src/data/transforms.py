"""Deterministic changes of a data set: MNIST's form, a choice of classes, quarter turns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from src.data.source import Images, Source, Split
from src.errors import as_typed, choice, integer, require
from src.pictures.mnist_form import BOX, FRAME, to_mnist_form


def to_uint8(levels: Tensor) -> Tensor:
    """Grey levels, real, rounded and clamped to 0..255."""
    return levels.round().clamp(0, 255).to(torch.uint8)


def frame_scans(images: Tensor) -> Tensor:
    """Scale (N, 1, h, w) grey levels 0..255 to 20x20 and centre them in a 28x28 frame of background: uint8."""
    scaled = F.interpolate(images.float(), (BOX, BOX), mode="bicubic", antialias=True, align_corners=False)
    return F.pad(to_uint8(scaled), [(FRAME - BOX) // 2] * 4)


@dataclass(frozen=True)
class TransformedImages:
    """Some rows of images that are not held in memory, transformed at each access."""

    images: Images
    rows: Tensor
    transform: Callable[[Tensor], Tensor]

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, C, H, W) after the transform."""
        return (len(self.rows), *self.index_select(0, torch.tensor([0])).shape[1:])

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        return self.transform(self.images.index_select(dim, self.rows[index]))


@dataclass(frozen=True, kw_only=True)
class TransformedSource(Source):
    """Another source with other images or classes. transform: makes this source of another reading of it."""

    original: Source
    transform: Callable[[Source], Source]

    @property
    def may_be_damaged(self) -> bool:
        return self.original.may_be_damaged

    def read_as(self, shape: tuple[int, int, int]) -> Source:
        other = self.original.read_as(shape)
        return self if other is self.original else self.transform(other)

    def describe(self, cut: bool = True) -> str:
        return self.original.describe(cut)


def transform_source(
    source: Source, ink: str = "none", classes: Sequence | Mapping | None = None, quarter_turns: int = 0
) -> Source:
    """The same data set with other images or classes; splits are still read on demand.

    ink: mnist brings images to MNIST's form (`src.pictures.mnist_form`). classes: names of the classes to keep, in
    their new order, or a map of new names to lists of old ones. quarter_turns: counterclockwise, of every image.
    Raises InputError for an unknown form or class, fewer than two classes, or a source that cannot be transformed.
    """
    choice("data.ink", ink, ("none", "mnist"))
    turns = integer("data.quarter_turns", quarter_turns) % 4
    changed = ink != "none" or classes is not None or turns != 0
    require(
        source.transformable or not changed,
        "corrections are stored as the network read them: describe the original data by data.mix.ink, "
        "data.mix.classes and data.mix.quarter_turns instead of data.ink, data.classes and data.quarter_turns",
    )
    if not changed and source.frame is None:
        return source
    again = partial(transform_source, ink=ink, classes=classes, quarter_turns=quarter_turns)
    if ink == "mnist" and (read_ink := source.read_ink()) is not None:
        source, ink = read_ink, "none"
    names, groups = _group_classes(source.class_names, classes)
    new_labels = torch.full((len(source.class_names),), -1)
    for new_label, members in enumerate(groups):
        new_labels[members] = new_label

    def transform(images: Tensor) -> Tensor:
        images = to_mnist_form(images) if ink == "mnist" else source.frame(images) if source.frame else images
        return images.rot90(turns, (2, 3)).contiguous() if turns else images

    def read(split: Callable[[], Split]) -> Split:
        data = split()
        images, labels, rows = data.images, data.labels, torch.arange(len(data.labels))
        if classes is not None:
            labels = new_labels[labels]
            rows = (labels >= 0).nonzero().flatten()
            labels = labels[rows]
        if isinstance(images, Tensor):
            return data.select(rows, transform(images if classes is None else images[rows]), labels)
        return data.select(rows, TransformedImages(images, rows, transform), labels)

    return TransformedSource(
        names,
        lambda: read(source.train),
        lambda: read(source.test),
        version=source.version,
        original=source,
        transform=again,
    )


def _group_classes(
    known: tuple[str, ...], classes: Sequence | Mapping | None
) -> tuple[tuple[str, ...], list[list[int]]]:
    if classes is None:
        return known, [[label] for label in range(len(known))]
    require(isinstance(classes, Mapping | list | tuple), f"data.classes={classes}: a list of names, or a map of lists")
    distinct = isinstance(classes, Mapping) or len(set(map(str, classes))) == len(classes)
    require(distinct, f"data.classes={classes}: a class is listed twice")
    named = classes if isinstance(classes, Mapping) else {str(name): [name] for name in classes}
    groups, used = [], set()
    for name, members in named.items():
        require(
            isinstance(members, list | tuple) and len(members) > 0,
            f"data.classes.{name}={as_typed(members)}: a list of at least one class",
        )
        for member in map(str, members):
            require(member in known, f"data.classes: {member} is no class of this data set: {', '.join(known)}")
            require(member not in used, f"data.classes: {member} is listed twice")
            used.add(member)
        groups.append([known.index(str(member)) for member in members])
    require(len(groups) >= 2, f"data.classes={as_typed(named)}: give at least two classes")
    return tuple(map(str, named)), groups
