"""Lightning's Trainer with the callbacks and loggers of a config."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger

from src.cli.config import instantiate
from src.cli.torchrun import check_processes
from src.errors import duration, require
from src.model_files.checkpoint import CheckpointFiles
from src.training.callbacks import NoProfiler, check_callbacks
from src.training.checkpoints import Checkpoints
from src.training.own_parts import build_callback
from src.training.plain_step import use_plain_steps
from src.training.stop import StopBetweenSteps


def _precision(trainer: Any) -> str | int:
    """trainer.precision; of auto 16 bits on a GPU, where they are faster, else 32."""
    if trainer.precision != "auto":
        return trainer.precision
    if trainer.accelerator not in ("auto", "gpu", "cuda") or not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"


def build_trainer(cfg: Any, extra_callbacks: Sequence[Callback]) -> tuple[Trainer, Checkpoints | None]:
    """The Trainer of a config of `src.train`, and its callback that saves checkpoints, None if nothing is saved.

    Raises InputError for callbacks, loggers and flags that cannot be used.
    """
    nodes = cfg.get("callbacks") or {}
    require(
        "checkpoints" in nodes,
        "no callback saves the network: give callbacks=[default,...], or callbacks.checkpoints=null on purpose",
    )
    callbacks = [build_callback(name, node) for name, node in nodes.items() if node]
    check_callbacks(callbacks)
    if cfg.dashboard._target_:
        callbacks.append(instantiate(cfg.dashboard, "dashboard"))
    if not cfg.trainer.enable_progress_bar:
        callbacks = [callback for callback in callbacks if not isinstance(callback, ProgressBar)]
    if not cfg.trainer.enable_checkpointing:
        callbacks = [callback for callback in callbacks if not isinstance(callback, Checkpoints)]
    callbacks += [*extra_callbacks, StopBetweenSteps()]
    checkpoints = next((callback for callback in callbacks if isinstance(callback, Checkpoints)), None)
    loggers: list[Logger] = [
        instantiate(node, f"logger.{name}") for name, node in (cfg.get("logger") or {}).items() if node
    ]
    seconds = duration("trainer.max_time", cfg.trainer.max_time, optional=True)
    trainer = instantiate(
        cfg.trainer,
        "trainer",
        callbacks=callbacks,
        logger=loggers or False,
        plugins=[CheckpointFiles()],
        default_root_dir=str(cfg.output_dir),
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        enable_checkpointing=checkpoints is not None,
        profiler=cfg.trainer.profiler or NoProfiler(),
        precision=_precision(cfg.trainer),
        max_time=None if seconds is None else timedelta(seconds=seconds),
    )
    check_processes(trainer.world_size)
    use_plain_steps(trainer)
    return trainer, checkpoints
