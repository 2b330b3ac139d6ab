"""best.ckpt and last.ckpt of a training."""

import logging
import math
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from src.errors import InputError, choice, integer, number, require
from src.evaluation.monitor import monitor_mode
from src.files import display_path
from src.finetune.closed_form import ClosedForm
from src.model_files.checkpoint import read_checkpoint
from src.training.csv_logger import EpochCSVLogger
from src.training.task import Classifier
from src.training.trainer_state import callbacks_of, data_of, is_dry_run, is_own

log = logging.getLogger(__name__)


class Checkpoints(Checkpoint):
    """Write `best.ckpt` after each validation that beats all before it, and `last.ckpt` after every epoch.

    folder: for both files. monitor: the metric; auto is val/acc, or val/mae for a regression target. mode: whether
    more is better (max) or less (min); auto goes by the metric's name.
    choose: best; last, where each validated epoch replaces the best one; or auto, which is last for few-shot training
    and corrections, as so few labels leave none to choose by.
    A stop between two steps (`StopBetweenSteps`) leaves a `last.ckpt` of that moment. Weights that are not finite are
    never saved.
    """

    state_key = "checkpoints"

    def __init__(self, folder: str, monitor: str = "auto", mode: str = "auto", choose: str = "auto"):
        choice("callbacks.checkpoints.choose", choose, ("auto", "best", "last"))
        self.folder, self.monitor, self.configured_mode = Path(folder), monitor, mode
        self.mode, self.choose = monitor_mode(monitor, mode), choose
        self.best_score: float | None = None
        self.best_epoch = 0
        self.best_metrics: dict[str, float] = {}  # of the best epoch's validation
        self.best_predictions: tuple[Tensor, Tensor] | None = None  # its logits and labels, if this process made them
        self._saved_step = -1

    def on_fit_start(self, trainer: Trainer, task: Classifier) -> None:
        if self.monitor == "auto":
            self.monitor = task.info.output.monitor
            self.mode = monitor_mode(self.monitor, self.configured_mode)
        if self.choose == "auto":
            self.choose = "last" if data_of(trainer).few_labels else "best"

    def on_train_start(self, trainer: Trainer, task: Classifier) -> None:
        total = trainer.fit_loop.epoch_loop.batch_progress.total
        total.ready = vars(total)["started"]  # a batch that a stop came before was counted, and comes again

    @property
    def best(self) -> Path:
        return self.folder / "best.ckpt"

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    def on_validation_end(self, trainer: Trainer, task: Classifier) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or is_dry_run(trainer):
            return
        if task.method and not task.method.is_complete(task.model):
            return
        metrics = trainer.callback_metrics
        require(
            self.monitor in metrics,
            f"callbacks.checkpoints.monitor={self.monitor} is not measured; there are {', '.join(sorted(metrics))}",
        )
        score = round(float(metrics[self.monitor]), 7)
        if not math.isnan(score) and self._is_better(score):
            before = self.state_dict()
            self.best_score, self.best_epoch = score, trainer.current_epoch + 1
            self.best_metrics = {name: float(value) for name, value in metrics.items() if name.startswith("val/")}
            if self._save(trainer, task, self.best):
                self.best_predictions = task.predicted
            else:
                self.load_state_dict(before)

    def on_train_epoch_end(self, trainer: Trainer, task: Classifier) -> None:
        if is_dry_run(trainer):
            return
        _record_epoch(trainer, task)
        if self._save(trainer, task, self.last):
            self._saved_step = trainer.global_step

    def _is_better(self, score: float) -> bool:
        if self.choose == "last" or self.best_score is None:
            return True
        return score > self.best_score if self.mode == "max" else score < self.best_score

    def _save(self, trainer: Trainer, task: Classifier, path: Path) -> bool:
        if finite := all(bool(p.isfinite().all()) for p in task.parameters()):
            trainer.save_checkpoint(path, weights_only=False)  # with the optimizer, to resume from
        return finite

    def on_save_checkpoint(self, trainer: Trainer, task: Classifier, checkpoint: dict) -> None:
        loop = checkpoint["loops"]["fit_loop"]
        epochs, batches = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
        ready = batches["current"]["ready"]
        if ready > batches["current"]["started"]:  # a stop before a batch, perhaps the last one
            batches["is_last_batch"] = False
            # Resumed, Lightning counts one step too many.
            whole = ready % trainer.accumulate_grad_batches == 0 or ready >= trainer.num_training_batches
            loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= whole
        if batches["is_last_batch"]:
            return
        # Lightning counts an epoch cut short by max_steps as processed; a resumed run would skip the rest of it.
        for progress in (epochs["total"], epochs["current"]):
            progress["processed"] = min(progress["processed"], progress["completed"])
        if isinstance(task.method, ClosedForm):  # its sums are not saved: the epoch begins again
            loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= batches["current"]["completed"]
            batches["current"] = dict.fromkeys(batches["current"], 0)
            checkpoint[type(data_of(trainer)).__qualname__]["batches_done"] = 0

    def on_exception(self, trainer: Trainer, task: Classifier, exception: BaseException) -> None:
        stopped = isinstance(exception, SIGTERMException)  # of `StopBetweenSteps`; a second Ctrl-C lands anywhere
        if stopped and not is_dry_run(trainer) and trainer.global_step > self._saved_step:
            self._save(trainer, task, self.last)

    def report_late_changes(self, trainer: Trainer, task: Classifier) -> None:
        """Say where a callback of the user's own changed the weights as training ended, after the last checkpoint."""
        own = [type(callback).__name__ for callback in callbacks_of(trainer) if is_own(callback)]
        if not own or not self.last.is_file():
            return
        saved, trained = read_checkpoint(self.last)["state_dict"], task.state_dict()
        if any(key not in trained or not value.equal(trained[key].cpu()) for key, value in saved.items()):
            log.warning(
                "the weights changed after the last checkpoint, in %s: best.ckpt and last.ckpt hold those before; "
                "a callback that changes weights before validation has them saved", " or ".join(own),
            )  # fmt: skip

    def state_dict(self) -> dict:
        return {name: getattr(self, name) for name in ("best_score", "best_epoch", "best_metrics")}

    def check_state(self, state: dict) -> None:
        """Raise InputError for a best epoch that cannot have been."""
        number("best_score", state["best_score"], optional=True)
        integer("best_epoch", state["best_epoch"], least=0)
        for name, value in state["best_metrics"].items():
            require(isinstance(name, str) and isinstance(value, float), "best_metrics: names and numbers")

    def load_state_dict(self, state: dict) -> None:
        if state["best_epoch"] and not self.best.is_file():
            log.warning("%s is gone: the best of the epochs that are left takes its place", display_path(self.best))
            return
        for name in self.state_dict():
            setattr(self, name, state[name])

    def check_best(self) -> None:
        """Raise InputError for a best.ckpt of the run to resume that cannot be read."""
        try:
            if self.best.is_file():
                read_checkpoint(self.best)
        except InputError as error:
            raise InputError(
                f"{error}; move it away, and the best of the epochs that are left takes its place"
            ) from None


def _record_epoch(trainer: Trainer, task: Classifier) -> None:
    """Write what the epoch measured into metrics.csv: Lightning does so after `last.ckpt`; a kill may come between."""
    names = sorted(name for name in task.latest if name.startswith("train/"))
    values = {
        name: float(trainer.strategy.reduce(torch.tensor(task.latest[name], device=task.device))) for name in names
    }
    for logger in trainer.loggers:
        if isinstance(logger, EpochCSVLogger):
            logger.record(trainer.current_epoch, values)
