"""What happens around training: the progress line, best.ckpt and last.ckpt, averaged weights."""

import logging
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer, callbacks
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar, WeightAveraging
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.optim.swa_utils import get_ema_multi_avg_fn

from src.errors import is_integer, is_number, require
from src.evaluation.monitor import default_monitor, monitor_mode

log = logging.getLogger(__name__)


class NoProfiler(PassThroughProfiler):
    """No profiling, without the context manager that Lightning otherwise makes 31 times a step."""

    _nothing = nullcontext()

    def profile(self, action_name: str) -> nullcontext:
        return self._nothing


class EpochProgressBar(ProgressBar):
    """A bar while an epoch runs (on a terminal) and one line when it is over.

    refresh_steps: steps between two updates of the bar.
    """

    state_key = "progress"

    def __init__(self, refresh_steps: int = 50):
        good = is_integer(refresh_steps) and refresh_steps >= 1
        require(good, f"callbacks.progress.refresh_steps={refresh_steps}: at least 1")
        super().__init__()
        self.refresh_steps, self.enabled, self._bar = refresh_steps, sys.stderr.isatty(), None

    def disable(self) -> None:
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def on_train_epoch_start(self, trainer: Trainer, task: LightningModule) -> None:
        if self.enabled and trainer.is_global_zero:
            from tqdm import tqdm

            total = self.total_train_batches
            self._bar = tqdm(total=total, desc=_epoch(trainer), leave=False, dynamic_ncols=True, unit=" steps")

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx: int) -> None:
        done = batch_idx + 1
        if self._bar is not None and done % self.refresh_steps == 0:
            shown = {"loss": f"{task.shown.get('loss', float('nan')):.4f}"}
            if "val/acc" in task.shown:
                shown["val/acc"] = f"{task.shown['val/acc']:.4f}"
            shown["images/s"] = f"{task.shown.get('train/images_per_s', 0):,.0f}"
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(done - self._bar.n)

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._close()
        task.close_epoch()  # before its own hook where an epoch ended early
        names = ("train/loss", "train/acc", "val/acc", "val/mae")
        if task.shown.get("val/epoch") != trainer.current_epoch:  # an epoch without validation
            names = [name for name in names if name.startswith("train/")]
        parts = [f"{name} {task.shown[name]:.4f}" for name in names if name in task.shown]
        if parts:
            log.info(
                "%s  %s  %s images/s", _epoch(trainer), "  ".join(parts), f"{task.shown['train/images_per_s']:,.0f}"
            )

    def on_exception(self, trainer: Trainer, task: LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _epoch(trainer: Trainer) -> str:
    total = trainer.max_epochs
    return f"epoch {trainer.current_epoch + 1}{f'/{total}' if total and total > 0 else ''}"


class Checkpoints(Checkpoint):
    """`best.ckpt` after every validation whose metric is better than ever before, `last.ckpt` after every epoch.

    folder: where they go; mode: whether more is better (max) or less (min), auto by its name.
    monitor: auto is val/acc, or val/mae for numbers. choose: best; last, by which every validated epoch replaces the
    one before as the best; or auto, which is last for few-shot training and corrections, as so few labels leave none to
    choose by.
    An interrupt (Ctrl-C, SIGTERM) leaves a `last.ckpt` of the moment. Weights that are not finite are never saved.
    """

    state_key = "checkpoints"

    def __init__(self, folder: str, monitor: str = "auto", mode: str = "auto", choose: str = "auto"):
        require(choose in ("auto", "best", "last"), f"callbacks.checkpoints.choose={choose}: auto, best or last")
        self.folder, self.monitor, self.given_mode = Path(folder), monitor, mode
        self.mode = monitor_mode(monitor, mode)
        self.choose = choose
        self.best_score: float | None = None
        self.best_epoch = 0
        self.best_metrics: dict[str, float] = {}  # of the best epoch's validation
        self._saved_step = -1

    def on_fit_start(self, trainer: Trainer, task: LightningModule) -> None:
        if self.monitor == "auto":
            self.monitor = default_monitor(task.info.target)
            self.mode = monitor_mode(self.monitor, self.given_mode)
        if self.choose == "auto":
            self.choose = "last" if getattr(trainer.datamodule, "few_labels", False) else "best"

    @property
    def best(self) -> Path:
        return self.folder / "best.ckpt"

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or trainer.fast_dev_run:
            return
        if task.method is not None and not task.method.complete(task.model):
            return
        metrics = trainer.callback_metrics
        require(
            self.monitor in metrics,
            f"callbacks.checkpoints.monitor={self.monitor} is not measured; there are {', '.join(sorted(metrics))}",
        )
        score = round(float(metrics[self.monitor]), 7)
        if score == score and (self.best_score is None or self._beats(score)):
            before = self.best_score, self.best_epoch, self.best_metrics
            self.best_score, self.best_epoch = score, trainer.current_epoch + 1
            self.best_metrics = {name: float(value) for name, value in metrics.items() if name.startswith("val/")}
            if not self._save(trainer, task, self.best):
                self.best_score, self.best_epoch, self.best_metrics = before

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        if not trainer.fast_dev_run and self._save(trainer, task, self.last):
            self._saved_step = trainer.global_step

    def _beats(self, score: float) -> bool:
        if self.choose == "last":
            return True
        return score > self.best_score if self.mode == "max" else score < self.best_score

    def _save(self, trainer: Trainer, task: LightningModule, path: Path) -> bool:
        finite = all(bool(p.isfinite().all()) for p in task.parameters())
        if finite:
            trainer.save_checkpoint(path, weights_only=False)  # with the optimizer, to go on from
        return finite

    def on_save_checkpoint(self, trainer: Trainer, task: LightningModule, checkpoint: dict) -> None:
        # Lightning counts an epoch cut short by max_steps as processed; a resumed run would leave out the rest of it.
        loop = checkpoint["loops"]["fit_loop"]
        epochs, batches = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
        if batches["is_last_batch"]:
            return
        for part in (epochs["total"], epochs["current"]):
            part["processed"] = min(part["processed"], part["completed"])
        if task.method and task.method.closed_form:  # what it has collected is not saved: the epoch begins again
            batches["current"] = dict.fromkeys(batches["current"], 0)
            checkpoint[type(trainer.datamodule).__qualname__]["batches_done"] = 0

    def on_exception(self, trainer: Trainer, task: LightningModule, exception: BaseException) -> None:
        interrupted = isinstance(exception, KeyboardInterrupt | SIGTERMException)
        if interrupted and not trainer.fast_dev_run and trainer.global_step > self._saved_step:
            self._save(trainer, task, self.last)

    def state_dict(self) -> dict:
        return {name: getattr(self, name) for name in ("best_score", "best_epoch", "best_metrics")}

    def load_state_dict(self, state: dict) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class PruningCallback(Callback):
    """Tells `hopeless` (epoch, value of `metric`) of each validation, and ends training when that is true.

    A run that is resumed asks first, with None for the value: it may have been interrupted between answer and end.
    """

    def __init__(self, metric: str, hopeless: Callable[[int, float | None], bool]):
        self.metric, self.hopeless, self.pruned = metric, hopeless, False

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.current_epoch > 0:
            self.pruned = trainer.should_stop = self.hopeless(trainer.current_epoch, None)

    def on_validation_end(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self.pruned = self.hopeless(trainer.current_epoch + 1, float(trainer.callback_metrics[self.metric]))
            trainer.should_stop = trainer.should_stop or self.pruned


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's, knowing by a metric's name whether it should rise or fall."""

    def __init__(self, monitor: str = "val/loss", patience: int = 3, min_delta: float = 0.0, mode: str = "auto"):
        require(
            is_integer(patience) and patience >= 0, f"callbacks.early_stopping.patience={patience}: 0 or more epochs"
        )
        super().__init__(monitor, min_delta=min_delta, patience=patience, mode=monitor_mode(monitor, mode))


class EMA(WeightAveraging):
    """Validate and save an exponential moving average of the weights and buffers, updated after every step.

    decay: share of the old average that is kept; it rises to this value over the first steps, as (1 + n) / (10 + n).
    """

    state_key = "ema"

    def __init__(self, decay: float = 0.999):
        require(is_number(decay) and 0 < decay < 1, f"callbacks.ema.decay={decay}: above 0, below 1")
        self.decay, self._swapped = decay, False
        super().__init__(use_buffers=True, multi_avg_fn=self._average)

    def _average(self, averages, currents, count) -> None:
        n = int(count)
        decay = min(self.decay, (1 + n) / (10 + n))
        # Masks and counters have no mean.
        get_ema_multi_avg_fn(decay if averages[0].is_floating_point() else 0.0)(averages, currents, count)

    def on_fit_start(self, trainer: Trainer, task: LightningModule) -> None:
        closed = task.method is not None and task.method.closed_form
        require(not closed, "callbacks.ema averages steps, and this method makes none: leave ema out of callbacks")

    def on_validation_epoch_start(self, trainer: Trainer, task: LightningModule) -> None:
        super().on_validation_epoch_start(trainer, task)
        self._swapped = self._average_model is not None

    def on_validation_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        super().on_validation_epoch_end(trainer, task)
        self._swapped = False

    def on_exception(self, trainer: Trainer, task: LightningModule, exception: BaseException) -> None:
        if self._swapped:  # interrupted within validation: a checkpoint must not hold the two exchanged
            self._swap_models(task)
            self._swapped = False
