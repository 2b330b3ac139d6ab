"""The data module of data that arrive in tasks."""

from typing import Any

import torch
from torch import Tensor

from src.data.batches import SeededBatchSampler
from src.data.datamodule import ImageData
from src.data.scenario import Scenario, TaskSource
from src.data.source import Source
from src.errors import require


class TaskData(ImageData):
    """Batches of one task after another: those of task t for `scenario.epochs` epochs, then those of the next.

    scenario: how the data set arrives in tasks. cumulative: whether the images of all tasks so far train, not only
    those of the running one.
    Validation and test have the images of all tasks.
    """

    source: TaskSource

    def __init__(self, scenario: Scenario, cumulative: bool = False, **options: Any):
        self.scenario, self.cumulative, self.raw_images = scenario, cumulative, torch.empty(0, dtype=torch.uint8)
        super().__init__(**options)
        require(self.target.name is None, "a scenario is of classes: leave data.target out")

    def _read_source(self, ink: str) -> Source:
        options = {"name": self.name, "ink": ink, **self._transform.keywords, **self._options}
        return self.scenario.divide(super()._read_source(ink), options)

    @property
    def num_tasks(self) -> int:
        """How many tasks there are."""
        return self.scenario.num_tasks

    def task_of(self, epoch: int) -> int:
        """The task that trains in an epoch, both counted from 0; after the last epoch the last task."""
        return min(epoch // self.scenario.epochs, self.num_tasks - 1)

    def is_last_epoch(self, epoch: int) -> bool:
        """Whether an epoch is the last one of its task."""
        return (epoch + 1) % self.scenario.epochs == 0

    def positions(self, task: int) -> Tensor:
        """The positions of a task's images in `train_set`; cumulative, of those of all tasks up to it."""
        tasks = self.train_set.task_of_each
        return (tasks <= task if self.cumulative else tasks == task).nonzero().flatten()

    def steps_of(self, task: int) -> int:
        """Batches of an epoch of a task."""
        return len(self._task_sampler(task))

    def task_images(self, task: int, count: int | None = None) -> tuple[Tensor, Tensor]:
        """Raw training images (N, C, H, W) and labels (N,) of one task, at most `count`, evenly spaced."""
        positions = (self.train_set.task_of_each == task).nonzero().flatten()
        if count is not None and count < len(positions):
            positions = positions[torch.linspace(0, len(positions) - 1, count).round().long()]
        return self.train_set[positions]

    def _sampler(self, seed: int | None, skip: int, rank: int, world: int) -> SeededBatchSampler:
        return self._task_sampler(self.task_of(self.trainer.current_epoch if self.trainer else 0), seed, skip)

    def _task_sampler(self, task: int, seed: int | None = None, skip: int = 0) -> SeededBatchSampler:
        positions = self.positions(task)
        return SeededBatchSampler(
            len(positions), self.batch_size, seed, skip, min_steps=self.min_steps, positions=positions
        )

    def on_after_batch_transfer(self, batch, dataloader_idx: int) -> tuple[Tensor, Tensor]:
        self.raw_images = batch[0]  # which a replay buffer keeps
        return super().on_after_batch_transfer(batch, dataloader_idx)

    def replayed(self, images: Tensor, *stream: int) -> Tensor:
        """Images of a replay buffer as training images are, augmented and normalized; `stream` determines the draws."""
        return self.normalize(self.seeded_augment(images, *stream))
