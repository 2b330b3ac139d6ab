"""Forward, backward, optimizer step, and none of Lightning's hooks between them where nothing is hooked in."""

from collections import OrderedDict
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loops.optimization.automatic import _AutomaticOptimization
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.optim import Optimizer

from src.finetune.closed_form import ClosedForm
from src.training.callbacks import NoProfiler

HOOKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
STEP_HOOKS = (*HOOKS, "backward", "optimizer_step")


class PlainStep(_AutomaticOptimization):
    """Lightning's automatic optimization, without the third of its calls that have no effect in a plain step.

    A step is plain on one device in full precision, without accumulation, clipping and a profiler, and where no
    callback and no module overrides a hook within it, which is found out once an epoch. It ends in the same weights,
    counters and outputs as Lightning's own, which makes all other steps. On one slow core 140 of 390 microseconds a
    step are saved (benchmarks/speed.py).
    """

    _plain: bool | None = None  # whether the steps of the running epoch are; None before the first

    def run(self, optimizer: Optimizer, batch_idx: int, kwargs: OrderedDict) -> dict[str, Any]:
        if batch_idx == 0 or self._plain is None:
            self._plain = self._is_plain()
        if not self._plain:
            return super().run(optimizer, batch_idx, kwargs)
        task: Any = self.trainer.lightning_module
        progress = self.optim_progress.optimizer
        progress.step.increment_ready()
        running, task._current_fx_name = task._current_fx_name, "training_step"
        loss = task.training_step(*kwargs.values())
        task._current_fx_name = running
        progress.zero_grad.increment_ready()
        progress.zero_grad.increment_started()
        task.optimizer_zero_grad(self.trainer.current_epoch, batch_idx, optimizer)
        progress.zero_grad.increment_completed()
        loss.backward()
        optimizer.step()
        progress.step.increment_completed()
        return {"loss": loss.detach()}

    def _is_plain(self) -> bool:
        trainer: Any = self.trainer  # which does not declare all that it has
        task = trainer.lightning_module
        return (
            type(trainer.strategy) is SingleDeviceStrategy
            and type(trainer.precision_plugin) is Precision
            and isinstance(trainer.profiler, NoProfiler)
            and not trainer.gradient_clip_val
            and trainer.accumulate_grad_batches == 1
            and not isinstance(getattr(task, "method", None), ClosedForm)  # its training_step returns no loss
            and all(_is_default(task, LightningModule, hook) for hook in STEP_HOOKS)
            and all(_is_default(callback, Callback, hook) for callback in trainer.callbacks for hook in HOOKS)
        )


def _is_default(hooked: object, base: type, hook: str) -> bool:
    return getattr(getattr(hooked, hook), "__func__", None) is getattr(base, hook)


def use_plain_steps(trainer: Trainer) -> None:
    """Let `trainer` make plain steps where it can."""
    trainer.fit_loop.epoch_loop.automatic_optimization = PlainStep(trainer)
