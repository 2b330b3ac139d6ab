"""Callbacks: the progress bar, best.ckpt and last.ckpt, pruning, early stopping, averaged weights."""

import logging
import math
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from lightning.pytorch import Trainer, callbacks
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar, WeightAveraging
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.optim.swa_utils import get_ema_multi_avg_fn

from src.errors import choice, fraction, integer, positive_int, require
from src.evaluation.monitor import monitor_mode
from src.finetune.closed_form import ClosedForm
from src.training.task import Classifier
from src.training.trainer_state import data_of, is_dry_run

log = logging.getLogger(__name__)


class NoProfiler(PassThroughProfiler):
    """No profiling, and no context manager, of which Lightning makes 31 a step otherwise."""

    _context = nullcontext()

    def profile(self, action_name: str) -> nullcontext:
        return self._context


class EpochProgressBar(ProgressBar):
    """A bar while an epoch runs (on a terminal) and one line when it is over.

    refresh_steps: steps between two updates of the bar.
    """

    state_key = "progress"

    def __init__(self, refresh_steps: int = 50):
        positive_int("callbacks.progress.refresh_steps", refresh_steps)
        super().__init__()
        self.refresh_steps, self.enabled, self._bar = refresh_steps, sys.stderr.isatty(), None

    def disable(self) -> None:
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def on_train_epoch_start(self, trainer: Trainer, task: Classifier) -> None:
        if self.enabled and trainer.is_global_zero:
            from tqdm import tqdm

            options = {"leave": False, "dynamic_ncols": True, "unit": " steps"}
            self._bar = tqdm(total=self.total_train_batches, desc=_epoch(trainer), **options)

    def on_train_batch_end(self, trainer: Trainer, task: Classifier, outputs, batch, batch_idx: int) -> None:
        if self._bar is not None and (batch_idx + 1) % self.refresh_steps == 0:
            metrics = {"loss": f"{task.latest.get('loss', float('nan')):.4f}"}
            if "val/acc" in task.latest:
                metrics["val/acc"] = f"{task.latest['val/acc']:.4f}"
            metrics["images/s"] = f"{task.latest.get('train/images_per_s', 0):,.0f}"
            self._bar.set_postfix(metrics, refresh=False)
            self._bar.update(batch_idx + 1 - self._bar.n)

    def on_train_epoch_end(self, trainer: Trainer, task: Classifier) -> None:
        self._close()
        task.finish_epoch()  # before its own hook where an epoch ended early
        names = ["train/loss", "train/acc", "val/acc", "val/mae"]
        if task.latest.get("val/epoch") != trainer.current_epoch:  # an epoch without validation
            names = [name for name in names if name.startswith("train/")]
        metrics = "  ".join(f"{name} {task.latest[name]:.4f}" for name in names if name in task.latest)
        if metrics:
            log.info("%s  %s  %s images/s", _epoch(trainer), metrics, f"{task.latest['train/images_per_s']:,.0f}")

    def on_exception(self, trainer: Trainer, task: Classifier, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _epoch(trainer: Trainer) -> str:
    total = trainer.max_epochs
    return f"epoch {trainer.current_epoch + 1}{f'/{total}' if total and total > 0 else ''}"


class Checkpoints(Checkpoint):
    """Write `best.ckpt` after each validation that beats all before it, and `last.ckpt` after every epoch.

    folder: for both files. monitor: the metric; auto is val/acc, or val/mae for a regression target. mode: whether
    more is better (max) or less (min); auto goes by the metric's name.
    choose: best; last, where each validated epoch replaces the best one; or auto, which is last for few-shot training
    and corrections, as so few labels leave none to choose by.
    An interrupt (Ctrl-C, SIGTERM) leaves a `last.ckpt` of that moment. Weights that are not finite are never saved.
    """

    state_key = "checkpoints"

    def __init__(self, folder: str, monitor: str = "auto", mode: str = "auto", choose: str = "auto"):
        choice("callbacks.checkpoints.choose", choose, ("auto", "best", "last"))
        self.folder, self.monitor, self.configured_mode = Path(folder), monitor, mode
        self.mode, self.choose = monitor_mode(monitor, mode), choose
        self.best_score: float | None = None
        self.best_epoch = 0
        self.best_metrics: dict[str, float] = {}  # of the best epoch's validation
        self._saved_step = -1

    def on_fit_start(self, trainer: Trainer, task: Classifier) -> None:
        if self.monitor == "auto":
            self.monitor = task.info.output.monitor
            self.mode = monitor_mode(self.monitor, self.configured_mode)
        if self.choose == "auto":
            self.choose = "last" if data_of(trainer).few_labels else "best"

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
            if not self._save(trainer, task, self.best):
                self.load_state_dict(before)

    def on_train_epoch_end(self, trainer: Trainer, task: Classifier) -> None:
        if not is_dry_run(trainer) and self._save(trainer, task, self.last):
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
        # Lightning counts an epoch cut short by max_steps as processed; a resumed run would skip the rest of it.
        loop = checkpoint["loops"]["fit_loop"]
        epochs, batches = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
        if batches["is_last_batch"]:
            return
        for progress in (epochs["total"], epochs["current"]):
            progress["processed"] = min(progress["processed"], progress["completed"])
        if isinstance(task.method, ClosedForm):  # its sums are not saved: the epoch begins again
            batches["current"] = dict.fromkeys(batches["current"], 0)
            checkpoint[type(data_of(trainer)).__qualname__]["batches_done"] = 0

    def on_exception(self, trainer: Trainer, task: Classifier, exception: BaseException) -> None:
        interrupted = isinstance(exception, KeyboardInterrupt | SIGTERMException)
        if interrupted and not is_dry_run(trainer) and trainer.global_step > self._saved_step:
            self._save(trainer, task, self.last)

    def state_dict(self) -> dict:
        return {name: getattr(self, name) for name in ("best_score", "best_epoch", "best_metrics")}

    def load_state_dict(self, state: dict) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class PruningCallback(Callback):
    """Report each validation to a search's pruner and end training when it says so.

    metric: reported as should_prune(epoch, value). A resumed run asks first, with None for the value: it may have been
    interrupted between the answer and the end.
    """

    def __init__(self, metric: str, should_prune: Callable[[int, float | None], bool]):
        self.metric, self.should_prune, self.pruned = metric, should_prune, False

    def on_train_start(self, trainer: Trainer, task: Classifier) -> None:
        if trainer.current_epoch > 0:
            self.pruned = trainer.should_stop = self.should_prune(trainer.current_epoch, None)

    def on_validation_end(self, trainer: Trainer, task: Classifier) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            self.pruned = self.should_prune(trainer.current_epoch + 1, float(trainer.callback_metrics[self.metric]))
            trainer.should_stop = trainer.should_stop or self.pruned


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's early stopping, whose mode goes by the metric's name, and which remembers that it stopped the run.

    A resumed run that it had stopped trains on only with more patience.
    """

    def __init__(self, monitor: str = "val/loss", patience: int = 3, min_delta: float = 0.0, mode: str = "auto"):
        integer("callbacks.early_stopping.patience", patience, least=0, unit="epochs")
        super().__init__(monitor, min_delta=min_delta, patience=patience, mode=monitor_mode(monitor, mode))

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict({**state, "patience": self.patience})

    def on_train_start(self, trainer: Trainer, task: Classifier) -> None:
        if self.stopping_reason == EarlyStoppingReason.PATIENCE_EXHAUSTED and self.wait_count < self.patience:
            self.stopping_reason, self.stopped_epoch = EarlyStoppingReason.NOT_STOPPED, 0
        if self.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
            trainer.should_stop = True
            log.info(
                "early stopping ended this run: %s did not improve in %d epochs; "
                "raise callbacks.early_stopping.patience to train on", self.monitor, self.wait_count,
            )  # fmt: skip


class EMA(WeightAveraging):
    """Validate and save an exponential moving average of the weights and buffers, updated after every step.

    decay: fraction of the old average kept at each step; it rises to this value as (1 + n) / (10 + n) after n steps.
    """

    state_key = "ema"

    def __init__(self, decay: float = 0.999):
        fraction("callbacks.ema.decay", decay, zero=False, one=False)
        self.decay, self._swapped = decay, False
        super().__init__(use_buffers=True, multi_avg_fn=self._average)

    def _average(self, averages, currents, count) -> None:
        n = int(count)
        decay = min(self.decay, (1 + n) / (10 + n))
        # Masks and counters have no mean.
        get_ema_multi_avg_fn(decay if averages[0].is_floating_point() else 0.0)(averages, currents, count)

    def on_fit_start(self, trainer: Trainer, task: Classifier) -> None:
        steps = not isinstance(task.method, ClosedForm)
        require(steps, "callbacks.ema averages over steps, and this method has none: leave ema out of callbacks")

    def on_validation_epoch_start(self, trainer: Trainer, task: Classifier) -> None:
        super().on_validation_epoch_start(trainer, task)
        self._swapped = self._average_model is not None

    def on_validation_epoch_end(self, trainer: Trainer, task: Classifier) -> None:
        super().on_validation_epoch_end(trainer, task)
        self._swapped = False

    def on_exception(self, trainer: Trainer, task: Classifier, exception: BaseException) -> None:
        if self._swapped:  # interrupted within validation: a checkpoint must not hold the two swapped
            self._swap_models(task)
            self._swapped = False
