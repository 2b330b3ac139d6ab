"""Callbacks: the progress bar, pruning, early stopping, averaged weights."""

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from lightning.pytorch import Trainer, callbacks
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.trainer.states import TrainerFn

from src.errors import choice, integer, positive_int, require
from src.evaluation.monitor import monitor_mode
from src.training.task import Classifier

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


class PruningCallback(Callback):
    """Report each validation to a search's pruner and end training when it says so.

    metric: reported as should_prune(epoch, value); None is the one that the network is judged by. A resumed run asks
    first, with None for the value: it may have been interrupted between the answer and the end.
    """

    def __init__(self, metric: str | None, should_prune: Callable[[int, float | None], bool]):
        self.metric, self.should_prune, self.pruned = metric, should_prune, False

    def on_train_start(self, trainer: Trainer, task: Classifier) -> None:
        if trainer.current_epoch > 0:
            self.pruned = trainer.should_stop = self.should_prune(trainer.current_epoch, None)

    def on_validation_end(self, trainer: Trainer, task: Classifier) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
            value = float(trainer.callback_metrics[self.metric or task.info.output.monitor])
            self.pruned = self.should_prune(trainer.current_epoch + 1, value)
            trainer.should_stop = trainer.should_stop or self.pruned


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's early stopping, whose mode goes by the metric's name, and which remembers that it stopped the run.

    A resumed run that it had stopped trains on only with more patience.
    """

    def __init__(self, monitor: str = "val/loss", patience: int = 3, min_delta: float = 0.0, mode: str = "auto"):
        integer("callbacks.early_stopping.patience", patience, least=0, unit="epochs")
        super().__init__(
            monitor,
            min_delta=min_delta,
            patience=patience,
            mode=monitor_mode(monitor, mode),
            check_on_train_epoch_end=monitor.startswith("train/"),
        )

    def check_state(self, state: dict) -> None:
        """Raise InputError for a reason to stop that there is not."""
        known = [reason.value for reason in EarlyStoppingReason]
        choice("stopping_reason", state["stopping_reason"], known)

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict({**state, "patience": self.patience})

    def on_validation_end(self, trainer: Trainer, task: Classifier) -> None:
        if trainer.state.fn == TrainerFn.FITTING and not self.monitor.startswith("train/"):
            known = ", ".join(sorted(trainer.callback_metrics))
            measured = self.monitor in trainer.callback_metrics
            require(measured, f"callbacks.early_stopping.monitor={self.monitor} is not measured; there are {known}")
        super().on_validation_end(trainer, task)

    def on_train_start(self, trainer: Trainer, task: Classifier) -> None:
        if self.stopping_reason == EarlyStoppingReason.PATIENCE_EXHAUSTED and self.wait_count < self.patience:
            self.stopping_reason, self.stopped_epoch = EarlyStoppingReason.NOT_STOPPED, 0
        if self.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
            trainer.should_stop = True
            log.info(
                "early stopping ended this run: %s did not improve in %d epochs; "
                "raise callbacks.early_stopping.patience to train on", self.monitor, self.wait_count,
            )  # fmt: skip


def check_callbacks(found: Sequence[Callback]) -> None:
    """Raise InputError for a callback that puts averaged weights into the network only after the last checkpoint."""
    for callback in found:
        name = type(callback).__name__
        late = isinstance(callback, callbacks.StochasticWeightAveraging)
        advice = "callbacks=[default,ema] validates, saves and tests the average"
        require(not late, f"{name} averages weights after the last checkpoint, which would hold others: {advice}")
