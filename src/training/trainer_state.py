"""What Lightning's Trainer knows of a training, with types."""

import math

from lightning.pytorch import Callback, Trainer

from src.data.datamodule import ImageData
from src.errors import require


def planned_epochs(trainer: Trainer) -> int:
    """How many epochs training will have, 1 where that cannot be known."""
    epochs = trainer.max_epochs or -1
    if epochs > 0:
        return epochs
    known = trainer.max_steps > 0 and math.isfinite(trainer.num_training_batches)
    return max(1, -(-trainer.max_steps // max(1, int(trainer.num_training_batches)))) if known else 1


def require_validation(trainer: Trainer, key: str, monitor: str | None) -> None:
    """Raise InputError where a metric of the validation is watched, and there is none."""
    watched = str(monitor).startswith("val/")
    require(
        not watched or trainer.limit_val_batches != 0,
        f"{key}={monitor} is not measured with trainer.limit_val_batches=0: watch train/loss, or validate",
    )


def data_of(trainer: Trainer) -> ImageData:
    """The data module that is trained on."""
    return trainer.datamodule  # type: ignore[attr-defined]  # the Trainer sets it without declaring it


def is_dry_run(trainer: Trainer) -> bool:
    """Whether trainer.fast_dev_run is on: a few steps of everything, nothing saved."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]  # the Trainer sets it without declaring it


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """The callbacks of a training."""
    return trainer.callbacks  # type: ignore[attr-defined]  # the Trainer sets it without declaring it
