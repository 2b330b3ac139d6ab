"""Continual learning: how a network learns one task after another. The lower and the upper bound, and the hooks that
other methods override."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from src.data.task_data import OldImages, TaskData
from src.errors import fraction, integer, positive_int

HIDDEN = -1e4  # a logit that no class has: exp of it is 0


class Criterion(Protocol):
    """A loss of logits (B, K) and labels (B,)."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Batch:
    """What a step trains on: normalized images (B, C, H, W), their labels (B,), and the raw images, uint8.

    step: its number, from 0.
    """

    images: Tensor
    labels: Tensor
    raw: Tensor
    step: int


class ContinualMethod:
    """How one task is learned after another: hooks that a method overrides.

    buffer: images that a method with a replay buffer keeps; without use in others, so that a sweep over methods can
    give it.
    task: that trains or trained last, from 0; -1 before the first. old_images: those of earlier tasks that train with
    those of a new one; None for none.
    """

    ordinary = True  # its steps are those of ordinary training: the loss of a batch of images and labels

    def __init__(self, buffer: int | None = None) -> None:
        positive_int("continual.buffer", buffer, optional=True, unit="images")
        self.task = -1
        self.old_images: OldImages | None = None

    def bind(self, data: TaskData, model: nn.Module, criterion: Criterion, device: torch.device) -> None:
        """Called before the first step, also of a resumed run."""
        self.data, self._criterion, self.device = data, criterion, device
        self._hidden: Tensor | None = None
        if data.scenario.reading == "task":
            self._hidden = hidden_classes(data.source.task_classes, data.info.num_classes).to(device)

    def criterion(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of the classes that the network may choose from."""
        return self._criterion(self.visible(logits, labels), labels)

    def visible(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (B, K) without the classes of other tasks than an image's own, where the network is told its task."""
        return logits if self._hidden is None else logits.masked_fill(self._hidden[labels], HIDDEN)

    def recall(self, model: nn.Module, learned: int) -> None:
        """Take up what the network knows of the first `learned` tasks, from their images; before the first step."""
        self.task = learned - 1

    def start_task(self, model: nn.Module, task: int) -> None:
        """Called before the first epoch of each task."""
        self.task = task

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of a step, and the logits of its images."""
        logits = model(batch.images)
        return self.criterion(logits, batch.labels), logits

    def end_step(self, model: nn.Module) -> None:
        """Called after the optimizer's step; gradients are still there."""

    def end_task(self, model: nn.Module) -> None:
        """Called after the last epoch of each task, before its validation."""

    def state(self) -> dict[str, Any]:
        """Tensors and plain values from which training goes on as if it had not stopped."""
        return {"task": self.task}

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of `state`; after `bind`."""
        self.task = state["task"]


class PlainTraining(ContinualMethod):
    """Training on one task after another, which forgets: the lower bound."""


class Joint(ContinualMethod):
    """Every task trains on the images of all tasks so far: the upper bound."""

    def __init__(self, buffer: int | None = None) -> None:
        super().__init__(buffer)
        self.old_images = OldImages()


class Rehearsal(ContinualMethod):
    """Images of earlier tasks, from their data sets, are mixed with those of a new one (Robins 1995, Connection
    Science 7(2)).

    old: of them in an epoch, at most; None for all. share: of the new task's images among those of an epoch, reached by
    repeating each at most `repeats` times; None repeats none.
    """

    def __init__(
        self, old: int | None = 10_000, share: float | None = 0.3, repeats: int = 50, buffer: int | None = None
    ):
        super().__init__(buffer)
        integer("continual.old", old, 0, optional=True, unit="images")
        if share is not None:
            fraction("continual.share", share, zero=False, one=False)
        self.old_images = OldImages(old, share, positive_int("continual.repeats", repeats))


def hidden_classes(task_classes: tuple[tuple[int, ...], ...], num_classes: int) -> Tensor:
    """For each label, the classes that are in no task with it: bool (K, K)."""
    hidden = torch.ones(num_classes, num_classes, dtype=torch.bool)
    for classes in task_classes:
        rows = torch.tensor(classes)
        hidden[rows.unsqueeze(1), rows] = False
    return hidden
