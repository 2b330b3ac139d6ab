"""Continual learning: how a network learns one task after another. The lower and the upper bound, and the hooks that
other methods override."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from src.data.task_data import TaskData

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
    """Plain training on one task after another, which forgets: the lower bound.

    task: that trains or trained last, from 0; -1 before the first.
    """

    cumulative = False  # every task trains on the images of all tasks so far

    def __init__(self) -> None:
        self.task = -1

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


class Joint(ContinualMethod):
    """Every task trains on the images of all tasks so far: the upper bound."""

    cumulative = True


def hidden_classes(task_classes: tuple[tuple[int, ...], ...], num_classes: int) -> Tensor:
    """For each label, the classes that are in no task with it: bool (K, K)."""
    hidden = torch.ones(num_classes, num_classes, dtype=torch.bool)
    for classes in task_classes:
        rows = torch.tensor(classes)
        hidden[rows.unsqueeze(1), rows] = False
    return hidden
