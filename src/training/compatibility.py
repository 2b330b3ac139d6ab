"""Options of a training that do not go together, refused before the first step."""

import math
from collections.abc import Mapping

from lightning.pytorch import Trainer

from src.data.info import Output
from src.errors import InputError, choice, is_integer, require
from src.finetune.closed_form import ClosedForm
from src.inference.tta import VIEW_COUNTS
from src.training.callbacks import EarlyStopping
from src.training.checkpoints import Checkpoints
from src.training.losses import MeanSquaredError
from src.training.task import Classifier
from src.training.trainer_state import callbacks_of, require_measured


def check_limits(trainer: Mapping, train_batches: int, val_batches: int) -> None:
    """Raise InputError for a share of an epoch's batches that is less than one, and validation after more than all."""
    keys = ("limit_train_batches", "limit_val_batches", "overfit_batches", "val_check_interval")
    for key in keys:
        count, value = val_batches if key == "limit_val_batches" else train_batches, trainer[key]
        batches = f"{count} batch{'es' * (count != 1)}"
        if isinstance(value, float) and 0 < value < 1 and value * count < 1:
            least = f"{math.ceil(1000 / count) / 1000:g} or more, or a number of batches"
            raise InputError(f"trainer.{key}={value} of {batches} is none: give {least}")
        if key == "val_check_interval" and is_integer(value) and trainer["check_val_every_n_epoch"] is not None:
            advice = f"give at most {count}, or trainer.check_val_every_n_epoch=null to count across epochs"
            require(value <= count, f"trainer.{key}={value}: an epoch has {batches}; {advice}")


def check_monitors(trainer: Trainer, names: list[str]) -> None:
    """Raise InputError for a metric that a callback watches and no epoch measures."""
    for callback in callbacks_of(trainer):
        if isinstance(callback, EarlyStopping):
            require_measured(trainer, names, "callbacks.early_stopping.monitor", callback.monitor)
        if isinstance(callback, Checkpoints) and callback.monitor != "auto" and trainer.limit_val_batches != 0:
            validated = [name for name in names if name.startswith("val/")]
            require_measured(trainer, validated, "callbacks.checkpoints.monitor", callback.monitor)


def check_compatible(output: Output, task: Classifier, views: int) -> None:
    """Reject options that a regression target, or a head solved in closed form, cannot use."""
    choice("views", views, VIEW_COUNTS)
    closed_form, mixed = isinstance(task.method, ClosedForm), bool(task.mixup or task.cutmix)
    require(not (closed_form and mixed), "this method needs whole labels: leave task.mixup and task.cutmix out")
    if not isinstance(task.loss, MeanSquaredError):
        output.require_classes(f"loss={type(task.loss).__name__}", "give loss=mse")
    if mixed:
        output.require_classes("task.mixup, task.cutmix", "leave both out")
    if closed_form:
        output.require_classes(f"finetune={type(task.method).__name__}", "give another method")
    if views != 1:
        output.require_classes(f"views={views}", "leave views out")
