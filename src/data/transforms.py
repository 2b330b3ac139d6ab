"""A data set seen in another way: its digits in MNIST's form, some of its classes, turned."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from src.data.source import Images, Source, Split
from src.errors import InputError, is_integer, require
from src.pictures.mnist_form import to_mnist_form

FORMS = ("none", "mnist")


@dataclass(frozen=True)
class TransformedImages:
    """Pictures that are not held in memory, changed when they are asked for."""

    images: Images
    change: Callable[[Tensor], Tensor]

    @property
    def shape(self) -> tuple[int, ...]:
        """As the change leaves it: (N, C, H, W)."""
        one = self.change(self.images.index_select(0, torch.tensor([0])))
        return (self.images.shape[0], *one.shape[1:])

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        return self.change(self.images.index_select(dim, index))


def transform_source(
    source: Source, ink: str = "none", classes: Sequence | Mapping | None = None, quarter_turns: int = 0
) -> Source:
    """The same data set with other images or classes; nothing is read before a split is asked for.

    ink: mnist brings the pictures to MNIST's form (`src.pictures.mnist_form`). classes: the names of those kept, in
    their new order, or a map of new names to lists of old ones. quarter_turns: counterclockwise, of every image.
    Raises InputError for a form or a class that does not exist, or fewer than two classes.
    """
    require(ink in FORMS, f"data.ink={ink}: one of {', '.join(FORMS)}")
    require(is_integer(quarter_turns), f"data.quarter_turns={quarter_turns}: a whole number")
    changed = ink != "none" or classes is not None or quarter_turns % 4
    require(
        source.replay is None or not changed,
        "corrections are as the network read them: give data.mix.ink, data.mix.classes and data.mix.quarter_turns of "
        "the original data in the place of data.ink, data.classes and data.quarter_turns",
    )
    names, groups = _groups(source.class_names, classes)
    table = torch.full((len(source.class_names),), -1)
    for new, members in enumerate(groups):
        table[members] = new

    def change(images: Tensor) -> Tensor:
        images = to_mnist_form(images) if ink == "mnist" else source.frame(images) if source.frame else images
        return images.rot90(quarter_turns, (2, 3)).contiguous() if quarter_turns % 4 else images

    def read(part: Callable[[], Split]) -> Split:
        images, labels = part()
        if classes is not None:
            labels = table[labels]
            rows = (labels >= 0).nonzero().flatten()
            images, labels = _take(images, rows), labels[rows]
        if ink == "mnist" or source.frame or quarter_turns % 4:
            images = change(images) if isinstance(images, Tensor) else TransformedImages(images, change)
        return Split(images, labels)

    return Source(names, lambda: read(source.train), lambda: read(source.test), replay=source.replay)


@dataclass(frozen=True)
class _Rows:
    """Some pictures of those that are not held in memory."""

    images: Images
    rows: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.rows), *self.images.shape[1:])

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        return self.images.index_select(dim, self.rows[index])


def _take(images: Images, rows: Tensor) -> Images:
    return images[rows] if isinstance(images, Tensor) else _Rows(images, rows)


def _groups(known: tuple[str, ...], classes: Sequence | Mapping | None) -> tuple[tuple[str, ...], list[list[int]]]:
    """New names, and for each the old classes it stands for."""
    if classes is None:
        return known, [[place] for place in range(len(known))]
    require(isinstance(classes, Mapping | list | tuple), f"data.classes={classes}: a list of names, or a map of lists")
    distinct = isinstance(classes, Mapping) or len(set(map(str, classes))) == len(classes)
    require(distinct, f"data.classes={classes}: a class is there twice")
    named = classes if isinstance(classes, Mapping) else {str(name): [name] for name in classes}
    groups, used = [], set()
    for name, members in named.items():
        require(isinstance(members, list | tuple) and members, f"data.classes.{name}={members}: a list of classes")
        for member in map(str, members):
            if member not in known:
                raise InputError(f"data.classes: {member} is no class here; there are: {', '.join(known)}")
            require(member not in used, f"data.classes: {member} is there twice")
            used.add(member)
        groups.append([known.index(str(member)) for member in members])
    require(len(groups) >= 2, f"data.classes={list(named)}: at least two classes")
    return tuple(map(str, named)), groups
