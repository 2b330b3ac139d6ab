"""What Lightning's Trainer knows of a training, with types."""

import math
from collections.abc import Sequence

from lightning.pytorch import Callback, Trainer

from src.data.datamodule import ImageData
from src.errors import require
from src.model_files.renamed import PACKAGE

OUR_CALLBACKS = (f"{PACKAGE}.", "lightning.")  # packages of callbacks that measure nothing more


def planned_epochs(trainer: Trainer) -> int:
    """How many epochs training will have, 1 where that cannot be known."""
    epochs = trainer.max_epochs or -1
    if epochs > 0:
        return epochs
    known = trainer.max_steps > 0 and math.isfinite(trainer.num_training_batches)
    return max(1, -(-trainer.max_steps // max(1, int(trainer.num_training_batches)))) if known else 1


def require_measured(trainer: Trainer, names: Sequence[str], key: str, monitor: str | None) -> None:
    """Raise InputError, before the first epoch, where a metric is watched that none measures: it is not in `names`.

    A callback of the user's own may measure more: then only what the epochs did measure can tell.
    """
    if monitor is None:
        return
    validates = not str(monitor).startswith("val/") or trainer.limit_val_batches != 0
    advice = "with trainer.limit_val_batches=0: watch train/loss, or validate"
    require(validates, f"{key}={monitor} is not measured {advice}")
    own = any(map(is_own, callbacks_of(trainer)))
    require(own or monitor in names, f"{key}={monitor} is not measured; there are {', '.join(names)}")


def is_own(callback: Callback) -> bool:
    """Whether a callback is the user's, neither the project's nor Lightning's."""
    return not type(callback).__module__.startswith(OUR_CALLBACKS)


def data_of(trainer: Trainer) -> ImageData:
    """The data module that is trained on."""
    return trainer.datamodule  # type: ignore[attr-defined]  # the Trainer sets it without declaring it


def is_dry_run(trainer: Trainer) -> bool:
    """Whether trainer.fast_dev_run is on: a few steps of everything, nothing saved."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]  # the Trainer sets it without declaring it


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """The callbacks of a training."""
    return trainer.callbacks  # type: ignore[attr-defined]  # the Trainer sets it without declaring it
