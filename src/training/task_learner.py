"""Training on one task after another: the classifier of continual learning, and a checkpoint after each task."""

import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from torch import Tensor

from src.cli.error_line import error_line
from src.data.datamodule import ImageData
from src.data.scenario import NO_LIMIT
from src.data.task_data import TaskData
from src.errors import InputError, require
from src.finetune.continual import Batch, ContinualMethod
from src.training.schedules import restart_each
from src.training.task import Classifier
from src.training.trainer_state import data_of, is_dry_run


class TaskLearner(Classifier):
    """A network that learns one task after another.

    continual: the method. ordinary: whether it trains as without tasks, one of them by a method that changes no step.
    The others as of Classifier.
    """

    def __init__(self, *parts: Any, continual: ContinualMethod, ordinary: bool = False, **options: Any):
        super().__init__(*parts, **options)
        self.continual, self.ordinary = continual, ordinary
        self.saved_method: dict[str, Any] | None = None  # of the run that is resumed
        if self.method is not None and not ordinary:
            self.method.cached_passes = 0  # features of one task say nothing of the next

    @property
    def tasks(self) -> TaskData:
        """The data of all tasks."""
        data = data_of(self.trainer)
        assert isinstance(data, TaskData)
        return data

    def on_fit_start(self) -> None:
        self.continual.bind(self.tasks, self.model, self.loss, self.device)
        if self.saved_method is None:
            self.continual.recall(self.model, self.tasks.scenario.learned)
        else:
            try:
                self.continual.load(self.saved_method)
            except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
                name = type(self.continual).__name__
                raise InputError(f"resume_from: the state of {name} is damaged ({error_line(error)})") from None

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        task = self.tasks.task_of(self.current_epoch)
        if task != self.continual.task:
            # Adam's mean square of the gradients is of a task that was solved: the steps of the next would be too long.
            for optimizer in self.trainer.optimizers:
                optimizer.state.clear()
            self.continual.start_task(self.model, task)

    def compute_loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self.ordinary:
            return super().compute_loss(images, labels)
        step = self.global_step
        if self.method:
            self.method.on_step_start(self.model, (step + 1) / self._total_steps)
        loss, logits = self.continual.loss(self.model, Batch(images, labels, self.tasks.raw_images, step))
        return loss + self.method.penalty(self.model) if self.method else loss, logits

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        self.continual.end_step(self.model)
        super().on_train_batch_end(outputs, batch, batch_idx)
        if self.trainer.is_last_batch and self.tasks.is_last_epoch(self.current_epoch):
            self.continual.end_task(self.model)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.evaluated[-1] = (self.continual.visible(*self.evaluated[-1]), batch[1])

    def _report(self, split: str) -> None:
        super()._report(split)
        assert self.predicted is not None
        right = (self.predicted[0].argmax(1) == self.predicted[1]).cpu()
        tasks = self.tasks.val_set.task_of_each[: len(right)]
        values = {
            f"{split}/acc_task{task + 1}": float(right[tasks == task].float().mean())
            for task in tasks.unique().tolist()
        }
        self.log_dict(values)
        self.latest |= values
        if self.tasks.scenario.reading == "task":
            self.predicted = None  # without the task of an image, the network answers otherwise

    def count_steps(self) -> float:
        if self.tasks.scenario.num_trained == 1:
            return super().count_steps()
        steps = sum(self._steps_of_tasks())
        return steps if self.trainer.max_steps < 0 else min(steps, self.trainer.max_steps)

    def _steps_of_tasks(self) -> list[int]:
        trainer, tasks = self.trainer, self.tasks
        limit = trainer.limit_train_batches
        steps = []
        for task in range(tasks.scenario.learned, tasks.num_tasks):
            batches = tasks.steps_of(task)
            batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
            steps.append(tasks.scenario.epochs * math.ceil(batches / trainer.accumulate_grad_batches))
        return steps

    def configure_optimizers(self):
        if self.tasks.scenario.num_trained == 1:
            return super().configure_optimizers()
        make, self.make_scheduler = self.make_scheduler, restart_each(self.make_scheduler, self._steps_of_tasks())
        try:
            return super().configure_optimizers()
        finally:
            self.make_scheduler = make

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["continual"] = self.continual.state()

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        super().on_load_checkpoint(checkpoint)
        require(isinstance(checkpoint.get("continual"), dict), "the checkpoint has no state of continual learning")
        self.saved_method = checkpoint["continual"]


class TaskCheckpoints(Callback):
    """Write the network before the first task that trains and after each, as task_0.ckpt, task_1.ckpt, ... in
    `folder`; the number is that of the tasks it knows."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, task: int) -> Path:
        """The file after `task` tasks."""
        return self.folder / f"task_{task}.ckpt"

    def on_train_start(self, trainer: Trainer, task: TaskLearner) -> None:  # type: ignore[override]
        if trainer.global_step == 0 and not is_dry_run(trainer):
            self._save(trainer, task.tasks.scenario.learned)

    def on_train_epoch_end(self, trainer: Trainer, task: TaskLearner) -> None:  # type: ignore[override]
        if task.tasks.is_last_epoch(trainer.current_epoch) and trainer.is_last_batch and not is_dry_run(trainer):
            self._save(trainer, 1 + task.tasks.task_of(trainer.current_epoch))

    def _save(self, trainer: Trainer, task: int) -> None:
        trainer.save_checkpoint(self.path(task), weights_only=False)  # callbacks: `EMA` saves the average


def describe_tasks(method: ContinualMethod, data: ImageData) -> str:
    """The tasks and the method, as a line for the log."""
    assert isinstance(data, TaskData)
    scenario, names = data.scenario, data.source.task_names[data.scenario.learned :]
    listed = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    told = ", told the task of each image" if scenario.reading == "task" else ""
    known = f" after {', '.join(data.source.task_names[: scenario.learned])}" if scenario.learned else ""
    length = f" of {scenario.epochs} epoch{'s' * (scenario.epochs != 1)}{' each' * (len(names) > 1)}"
    length = length if scenario.epochs < NO_LIMIT else ""
    line = f"{len(names)} task{'s' * (len(names) != 1)}{length}{known}: {listed}; {type(method).__name__}{told}"
    mixed = data.describe_epoch(data.num_tasks - 1) if len(names) == 1 else ""
    return f"{line}; {mixed}" if mixed else line
