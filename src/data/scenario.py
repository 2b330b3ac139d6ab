"""How data arrive in tasks, one after another: the scenarios of continual learning.

Split classes are class-incremental, or task-incremental where a network is told the task of each image; permuted and
rotated images, and a list of data sets of the same classes, are domain-incremental (van de Ven & Tolias 2019,
arXiv:1904.07734).
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from src.data.batches import derive_seed
from src.data.source import Source, Split
from src.errors import as_typed, choice, integer, positive_int, require

READINGS = ("class", "task")
NO_LIMIT = sys.maxsize


@dataclass(frozen=True, kw_only=True)
class TaskSource(Source):
    """Another source whose images belong to tasks: `Split.tasks` holds the task of each.

    task_names: of the tasks, in their order. task_classes: the classes that each brings, in ascending order.
    copies: how many tasks each image of `original` is in. divide: makes this source of another reading of `original`.
    border: pixels that the tasks add to its images on every side.
    """

    original: Source
    task_names: tuple[str, ...]
    task_classes: tuple[tuple[int, ...], ...]
    divide: Callable[[Source], "TaskSource"]
    copies: int = 1
    border: int = 0

    @property
    def few_labels(self) -> bool:  # type: ignore[override]  # a constant of other sources
        return self.original.few_labels

    @property
    def may_be_damaged(self) -> bool:
        return self.original.may_be_damaged

    def read_as(self, shape: tuple[int, int, int]) -> Source:
        channels, height, width = shape
        other = self.original.read_as((channels, height - 2 * self.border, width - 2 * self.border))
        return self if other is self.original else self.divide(other)

    def describe(self, cut: bool = True) -> str:
        return self.original.describe(cut)

    def target_data(self) -> Source | None:
        target = self.original.target_data()
        return self if target is self.original else target

    def validation_mask(self, labels: Tensor, split: Callable[[Tensor], Tensor]) -> Tensor:
        """`split` of the original images: copies of one image are all on one side."""
        count = len(labels) // self.copies
        return self.original.validation_mask(labels[:count], split).repeat(self.copies)


class Scenario:
    """Data in tasks.

    epochs: passes over the images of each task; None for all that the trainer makes, of one task.
    reading: class, the network tells all classes apart; or task, it is told the task of each image and chooses among
    the classes of that task.
    learned: how many of the tasks, from the first, the network has learned before: they are old and do not train.
    """

    def __init__(self, epochs: int | None = 1, reading: str = "class", learned: int = 0):
        self.epochs = positive_int("scenario.epochs", epochs, optional=True) or NO_LIMIT
        self.reading = choice("scenario.reading", reading, READINGS)
        self.learned = integer("scenario.learned", learned, 0)

    @property
    def num_tasks(self) -> int:
        """How many tasks there are."""
        raise NotImplementedError

    @property
    def num_trained(self) -> int:
        """How many of them train."""
        return self.num_tasks - self.learned

    def divide(self, source: Source, options: Mapping[str, Any]) -> TaskSource:
        """The same data set in tasks; its splits are still read on demand.

        options: of `data=`, from which further data sets take what they are not told.
        Raises InputError for a data set that cannot be divided so.
        """
        raise NotImplementedError


class SplitClasses(Scenario):
    """Each task brings some of the classes (Split-MNIST of Zenke et al. 2017, arXiv:1703.04200).

    tasks: how many, 2 or more; classes are divided as evenly as they can be. None is 5, or as many as there are lists.
    order: seed, drawn by `seed`; classes, the order of the data set; or the names of all classes in another order, or
    in lists, one per task.
    """

    def __init__(self, tasks: int | None = None, order: str | Sequence = "seed", seed: int = 0, **options: Any):
        super().__init__(**options)
        integer("scenario.tasks", tasks, 2, optional=True)
        listed = isinstance(order, list | tuple) and len(order) > 0
        known = listed or order in ("seed", "classes")
        require(known, f"scenario.order={as_typed(order)}: seed, classes, or a list of classes")
        self.order, self.seed = order, integer("scenario.seed", seed, 0)
        kinds = {isinstance(entry, list | tuple) for entry in order} if listed else {False}
        typed = f"scenario.order={as_typed(order)}"
        require(len(kinds) == 1, f"{typed}: classes, or lists of classes, one per task; not both")
        self.in_lists = kinds == {True}
        require(not self.in_lists or len(order) > 1, f"{typed}: one task; give two lists or more")
        fits = not self.in_lists or tasks in (None, len(order))
        require(fits, f"{typed} has {len(order)} tasks, scenario.tasks={tasks}: leave scenario.tasks out")
        self.tasks = len(order) if self.in_lists else 5 if tasks is None else tasks

    @property
    def num_tasks(self) -> int:
        return self.tasks

    def divide(self, source: Source, options: Mapping[str, Any]) -> TaskSource:
        names, groups = source.class_names, self._groups(source.class_names)
        task_of = torch.empty(len(names), dtype=torch.long)
        for task, group in enumerate(groups):
            task_of[list(group)] = task

        def read(split: Callable[[], Split]) -> Split:
            data = split()
            return replace(data, tasks=task_of[data.labels])

        return TaskSource(
            names,
            partial(read, source.train),
            partial(read, source.test),
            version=read_version(source, f"classes {groups}"),
            original=source,
            task_names=tuple("+".join(names[label] for label in group) for group in groups),
            task_classes=tuple(tuple(sorted(group)) for group in groups),
            divide=partial(self.divide, options=options),
        )

    def _groups(self, names: tuple[str, ...]) -> list[list[int]]:
        if self.in_lists:
            groups = [[self._label(name, names) for name in group] for group in self.order]
            require(all(groups), f"scenario.order={as_typed(self.order)}: a task without classes")
        else:
            if self.order == "seed":
                generator = torch.Generator().manual_seed(derive_seed(self.seed, len(names)))
                order = torch.randperm(len(names), generator=generator).tolist()
            elif self.order == "classes":
                order = list(range(len(names)))
            else:
                order = [self._label(name, names) for name in self.order]
            groups = [part.tolist() for part in torch.tensor(order).tensor_split(self.tasks)]
        self._check_complete(groups, names)
        require(all(groups), f"scenario.tasks={self.tasks} of {len(names)} classes: give 2 to {len(names)}")
        return groups

    def _check_complete(self, groups: Sequence[Sequence[int]], names: tuple[str, ...]) -> None:
        listed = sorted(label for group in groups for label in group)
        missing = [name for label, name in enumerate(names) if label not in listed]
        twice = [names[label] for label in set(listed) if listed.count(label) > 1]
        require(not twice, f"scenario.order: {', '.join(twice)} is listed twice")
        require(not missing, f"scenario.order lacks {', '.join(missing)}: list every class once, or give data.classes")

    def _label(self, name: object, names: tuple[str, ...]) -> int:
        require(str(name) in names, f"scenario.order: {name} is no class of this data set: {', '.join(names)}")
        return names.index(str(name))


def read_version(source: Source, *parts: str) -> str:
    """The version of a source in tasks, for the cache."""
    return "; ".join((source.version or "", *parts))
