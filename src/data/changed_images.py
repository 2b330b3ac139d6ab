"""Domain-incremental scenarios: the same images and classes, changed otherwise in each task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from src.data.batches import derive_seed
from src.data.rotation import rotate
from src.data.scenario import Scenario, TaskSource, read_version
from src.data.source import Images, Source, Split, in_memory
from src.errors import integer, number, require

MAX_PAD = 64


class ChangedImages(Scenario):
    """Every task has all images and classes, changed in a way of its own; the first has them as they are.

    tasks: how many. pad: pixels of 0 around the images of all tasks.
    """

    pad = 0

    def __init__(self, tasks: int = 10, reading: str = "class", **options: Any):
        super().__init__(reading=reading, **options)
        self.tasks = integer("scenario.tasks", tasks, 2)
        advice = "each task has all classes, so that its number tells a network nothing: leave it out"
        require(reading == "class", f"scenario.reading={reading}: {advice}")

    @property
    def num_tasks(self) -> int:
        return self.tasks

    def change(self, images: Tensor, task: int) -> Tensor:
        """The images, uint8 (N, C, H, W), as they are in a task, counted from 1."""
        raise NotImplementedError

    def task_name(self, task: int) -> str:
        """The name of a task, counted from 0."""
        raise NotImplementedError

    def divide(self, source: Source, options: Mapping[str, Any]) -> TaskSource:
        tasks = self.tasks

        def read(split: Callable[[], Split]) -> Split:
            data = split()
            images = PaddedImages(data.images, self.pad) if self.pad else data.images
            return Split(
                CopiedImages(images, tasks, self.change),
                data.labels.repeat(tasks),
                None if data.files is None else data.files * tasks,
                None if data.in_val is None else data.in_val.repeat(tasks),
                data.skipped,
                None if data.digests is None else data.digests.repeat(tasks),
                torch.arange(tasks).repeat_interleave(len(data.labels)),
            )

        classes = tuple(range(len(source.class_names)))
        return TaskSource(
            source.class_names,
            partial(read, source.train),
            partial(read, source.test),
            version=read_version(source, repr((type(self).__name__, vars(self)))),
            original=source,
            task_names=tuple(map(self.task_name, range(tasks))),
            task_classes=(classes,) * tasks,
            divide=partial(self.divide, options=options),
            copies=tasks,
            border=self.pad,
        )


class Permuted(ChangedImages):
    """The pixels of all images in another order, drawn by `seed` (Permuted-MNIST, Goodfellow et al. 2013,
    arXiv:1312.6211); a network of convolutions sees no shapes in them.

    pad: pixels of 0 around each image, which change their places with the others.
    """

    def __init__(self, tasks: int = 10, pad: int = 0, seed: int = 0, **options: Any):
        super().__init__(tasks, **options)
        self.pad = integer("scenario.pad", pad, 0, MAX_PAD, unit="pixels")
        self.seed = integer("scenario.seed", seed, 0)

    def change(self, images: Tensor, task: int) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, task))
        order = torch.randperm(images.shape[2] * images.shape[3], generator=generator)
        return images.flatten(2)[:, :, order.to(images.device)].view_as(images)

    def task_name(self, task: int) -> str:
        return f"order {task}" if task else "as they are"


class Rotated(ChangedImages):
    """All images turned by angles at equal distances (Rotated-MNIST, Lopez-Paz & Ranzato 2017, arXiv:1706.08840).

    range_deg: counterclockwise, the angle that one more task would have: 180 in 10 tasks are 0, 18, ..., 162 degrees.
    """

    def __init__(self, tasks: int = 10, range_deg: float = 180.0, **options: Any):
        super().__init__(tasks, **options)
        self.range_deg = number("scenario.range_deg", range_deg, above=0, most=360)

    def change(self, images: Tensor, task: int) -> Tensor:
        return rotate(images, torch.full((len(images),), self._angle(task)))

    def task_name(self, task: int) -> str:
        return f"{self._angle(task):g}°"

    def _angle(self, task: int) -> float:
        return task * self.range_deg / self.tasks


@dataclass(frozen=True)
class PaddedImages:
    """Images with `pad` pixels of 0 on every side."""

    images: Images
    pad: int

    @property
    def shape(self) -> tuple[int, ...]:
        *outer, height, width = self.images.shape
        return (*outer, height + 2 * self.pad, width + 2 * self.pad)

    @property
    def in_memory(self) -> bool:
        """Whether the images inside are held in memory."""
        return in_memory(self.images)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        return F.pad(self.images.index_select(dim, index), (self.pad,) * 4)


@dataclass(frozen=True)
class CopiedImages:
    """Images once per task, changed at each access: row n of task t is t * N + n.

    change: called with images and a task from 1 on.
    """

    images: Images
    tasks: int
    change: Callable[[Tensor, int], Tensor]

    @property
    def shape(self) -> tuple[int, ...]:
        count, *shape = self.images.shape
        return (self.tasks * count, *shape)

    @property
    def in_memory(self) -> bool:
        """Whether the images that are changed are held in memory."""
        return in_memory(self.images)

    def index_select(self, dim: int, index: Tensor) -> Tensor:
        count = self.images.shape[0]
        images, tasks = self.images.index_select(dim, index % count), index // count
        for task in tasks.unique().tolist():
            if task:
                rows = (tasks == task).nonzero().flatten()
                images[rows] = self.change(images[rows], task)
        return images
