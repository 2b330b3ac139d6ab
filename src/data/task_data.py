"""The data module of data that arrive in tasks."""

from typing import Any

import torch
from torch import Tensor

from src.data.batches import SeededBatchSampler
from src.data.datamodule import ImageData
from src.data.scenario import Scenario, TaskSource
from src.data.source import Source
from src.data.splits import class_ranks, stratified_mask
from src.errors import require


class OldImages:
    """Which images of earlier tasks an epoch has beside those of a new one.

    count: at most so many, every class of every task in proportion; None for all. share: of the new task's images among
    those of the epoch, reached by repeating each at most `repeats` times; None repeats none.
    """

    def __init__(self, count: int | None = None, share: float | None = None, repeats: int = 50):
        self.count, self.share, self.repeats = count, share, repeats

    def mix(self, tasks: Tensor, strata: Tensor, task: int, seed: int) -> Tensor:
        """The positions of the images of an epoch of `task`, old ones first.

        tasks, strata: of each image that may train, int64 (N,); strata are kept in proportion.
        """
        old, new = (tasks < task).nonzero().flatten(), (tasks == task).nonzero().flatten()
        if self.count is not None and self.count < len(old):
            old = old[stratified_mask(strata[old], self.count, seed)]
        times = 1
        if self.share is not None:
            wanted = self.share / (1 - self.share) * len(old) / max(1, len(new))
            times = min(self.repeats, max(1, round(wanted)))
        return torch.cat([old, new.repeat(times)])


class TaskData(ImageData):
    """Batches of one task after another: those of task t for `scenario.epochs` epochs, then those of the next.

    scenario: how the data set arrives in tasks. old_images: those of earlier tasks that train with those of the running
    one; None for none.
    Validation and test have the images of all tasks.
    """

    source: TaskSource

    def __init__(self, scenario: Scenario, old_images: OldImages | None = None, **options: Any):
        self.scenario, self.old_images, self.raw_images = scenario, old_images, torch.empty(0, dtype=torch.uint8)
        super().__init__(**options)
        require(self.target.name is None, "a scenario is of classes: leave data.target out")

    def setup(self, stage: str | None = None) -> None:
        if hasattr(self, "train_set"):
            return
        super().setup(stage)
        if self.old_images is not None and self.scenario.num_trained == 1:  # every epoch has the same images
            self.train_set = self.train_set.keep(self._mixed(self.old_images, self.num_tasks - 1))
            self.class_counts = self._labels().bincount(minlength=self.info.num_classes)

    def _labels(self) -> Tensor:
        return self.train_set.labels[self.train_set.indices]

    def _mixed(self, old_images: OldImages, task: int) -> Tensor:
        tasks = self.train_set.task_of_each
        return old_images.mix(tasks, tasks * self.info.num_classes + self._labels(), task, self.seed)

    def _read_source(self, ink: str) -> Source:
        options = {"name": self.name, "ink": ink, **self._transform.keywords, **self.options}
        return self.scenario.divide(super()._read_source(ink), options)

    @property
    def num_tasks(self) -> int:
        """How many tasks there are."""
        return self.scenario.num_tasks

    def task_of(self, epoch: int) -> int:
        """The task that trains in an epoch, both counted from 0; after the last epoch the last task."""
        return min(self.scenario.learned + epoch // self.scenario.epochs, self.num_tasks - 1)

    def is_last_epoch(self, epoch: int) -> bool:
        """Whether an epoch is the last one of its task."""
        return (epoch + 1) % self.scenario.epochs == 0

    def positions(self, task: int) -> Tensor:
        """The positions in `train_set` of the images that an epoch of a task trains on."""
        tasks = self.train_set.task_of_each
        if self.old_images is None:
            return (tasks == task).nonzero().flatten()
        return torch.arange(len(tasks)) if self.scenario.num_trained == 1 else self._mixed(self.old_images, task)

    def steps_of(self, task: int) -> int:
        """Batches of an epoch of a task."""
        return len(self._task_sampler(task))

    def describe_epoch(self, task: int) -> str:
        """How many old images an epoch of a task has, and how often it repeats each new one; empty without old ones."""
        rows = self.positions(task)
        new = self.train_set.task_of_each[rows] == task
        if self.old_images is None or bool(new.all()):
            return ""
        times = int(self.train_set.indices[rows[new]].bincount().max()) if bool(new.any()) else 0
        repeated = f", each {times} times (continual.share, continual.repeats)" if times > 1 else ""
        return f"an epoch has {int((~new).sum()):,} old images and {int(new.sum()):,} new ones{repeated}"

    def earlier_images(self, task: int, count: int, seed: int, balanced: bool) -> tuple[Tensor, Tensor, dict[int, int]]:
        """Raw training images (N, C, H, W) and labels (N,) of tasks before `task`, at most `count`, drawn by `seed`;
        and how many there are of each class.

        balanced: equally many of each class, as far as there are.
        """
        positions = (self.train_set.task_of_each < task).nonzero().flatten()
        labels = self._labels()[positions]
        ranks = class_ranks(labels if balanced else torch.zeros_like(labels), seed)
        images, chosen = self.train_set[positions[ranks.argsort(stable=True)[:count]]]
        return images, chosen, {label: int((labels == label).sum()) for label in labels.unique().tolist()}

    def task_images(self, task: int, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Raw training images (N, C, H, W) and labels (N,) of one task, at most `count`, evenly spaced."""
        positions = (self.train_set.task_of_each == task).nonzero().flatten()
        if count is not None and count < len(positions):
            positions = positions[torch.linspace(0, len(positions) - 1, count).round().long()]
        return self.train_set[positions]

    def _sampler(self, seed: int | None, skip: int, rank: int, world: int) -> SeededBatchSampler:
        task = self.task_of(self.trainer.current_epoch if self.trainer else 0)
        return self._task_sampler(task, seed, skip, rank, world)

    def _task_sampler(
        self, task: int, seed: int | None = None, skip: int = 0, rank: int = 0, world: int = 1
    ) -> SeededBatchSampler:
        positions = self.positions(task)
        return SeededBatchSampler(len(positions), self.batch_size, seed, skip, rank, world, self.min_steps, positions)

    def on_after_batch_transfer(self, batch, dataloader_idx: int) -> tuple[Tensor, Tensor]:
        self.raw_images = batch[0]  # which a replay buffer keeps
        return super().on_after_batch_transfer(batch, dataloader_idx)

    def replayed(self, images: Tensor, *stream: int) -> Tensor:
        """Images of a replay buffer as training images are, augmented and normalized; `stream` determines the draws."""
        return self.normalize(self.seeded_augment(images, *stream))
