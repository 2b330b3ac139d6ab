"""One run of training, from its config to its results."""

import logging
import shlex
import sys
import time
from pathlib import Path

import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig

from src.cli.command import CommandExit, signals_to_trainer
from src.cli.config import build, to_plain
from src.cli.process import check_machine, quiet_libraries, tune_process
from src.errors import InputError, require
from src.evaluation.monitor import default_monitor
from src.files import display_path
from src.inference.tta import COUNTS
from src.model_files.checkpoint import CheckpointFiles, read_checkpoint
from src.sweep.study import objectives, pruning_check
from src.training.callbacks import Checkpoints, EpochProgressBar, NoProfiler, PruningCallback
from src.training.ddp import processes_of, quiet_others
from src.training.distillation import Distill
from src.training.initialize import initialize
from src.training.losses import MeanSquaredError
from src.training.results import write_results
from src.training.resume import check_same_run
from src.training.task import Classifier

log = logging.getLogger(__name__)


def train(cfg: DictConfig, folder: Path, overrides: list[str]) -> float | None:
    """Data, model, training, the best epoch tested; everything is written to `folder`.

    overrides: the command, kept in the checkpoint. Returns the best validation metric.
    """
    started = time.perf_counter()
    quiet_libraries()
    quiet_others()
    tune_process()
    check_machine(cfg)
    config = {key: value for key, value in to_plain(cfg).items() if key not in ("output_dir", "resume_from")}
    torch.manual_seed(cfg.seed)

    data = build(cfg.data, "data", augment=build(cfg.augment, "augment"))
    data.setup()
    start = initialize(cfg, config, data.info)
    loss = build(cfg.loss, "loss", class_counts=data.class_counts)
    if isinstance(loss, Distill):
        start.config["teacher"] = loss.net.digest
    if cfg.resume_from:
        check_same_run(read_checkpoint(cfg.resume_from)["config"], start.config)
    if start.net is not None:
        data.read_as(start.info.mean, start.info.std)
    if cfg.compile:
        start.model.compile()  # in place: the checkpoint's names stay as they are
    task = Classifier(
        start.model,
        start.info,
        optimizer=build(cfg.optimizer, "optimizer"),
        scheduler=build(cfg.scheduler, "scheduler"),
        loss=loss,
        method=start.method,
        **to_plain(cfg.task),
        seed=cfg.seed,
        log_every=cfg.trainer.log_every_n_steps,
        config={**start.config, "overrides": overrides},
        base={"file": start.net.file, "sha256": start.net.digest} if cfg.checkpoint == "adapter" else None,
    )
    nodes = cfg.get("callbacks") or {}
    require(
        "checkpoints" in nodes, "nothing would be saved: give callbacks=[default,...], or callbacks.checkpoints=null"
    )
    check_task(start.info, task, cfg.views)
    callbacks = [build(node, f"callbacks.{name}") for name, node in nodes.items() if node]
    if cfg.dashboard._target_:
        callbacks.append(build(cfg.dashboard, "dashboard"))
    unwanted = (() if cfg.trainer.enable_progress_bar else (EpochProgressBar,)) + (
        () if cfg.trainer.enable_checkpointing else (Checkpoints,)
    )
    callbacks = [callback for callback in callbacks if not isinstance(callback, unwanted)]
    if (hopeless := pruning_check()) is not None:
        callbacks.append(PruningCallback((objectives() or [default_monitor(start.info.target)])[0], hopeless))
    bar = any(isinstance(callback, EpochProgressBar) for callback in callbacks)
    saved = next((callback for callback in callbacks if isinstance(callback, Checkpoints)), None)
    loggers = [build(node, f"logger.{name}") for name, node in (cfg.get("logger") or {}).items() if node]
    trainer = build(
        cfg.trainer,
        "trainer",
        callbacks=callbacks,
        logger=loggers or False,
        plugins=[CheckpointFiles()],
        default_root_dir=str(folder),
        enable_progress_bar=bar,
        enable_checkpointing=saved is not None,
        profiler=cfg.trainer.profiler or NoProfiler(),
    )
    log.info("%s", summary(cfg, data, start.model, trainer))
    if isinstance(loss, Distill):
        loss.check(start.info)
        log.info(
            "teacher: %s, weights of epoch %d, %d look(s) at each image", loss.net.file, loss.net.epoch, loss.net.views
        )

    try:
        with processes_of(folder, overrides, trainer.world_size), signals_to_trainer():
            trainer.fit(task, data, ckpt_path=cfg.resume_from or None)
    except (SystemExit, SIGTERMException) as stop:
        status = 143 if isinstance(stop, SIGTERMException) else 130
        kept = saved is not None and saved.last.is_file()
        command = f"python -m src.train resume_from={shlex.quote(display_path(folder))}"
        raise CommandExit(
            status, f"stopped; go on with: {command}" if kept else "stopped before anything was saved"
        ) from None
    except InputError as error:
        if saved and saved.last.is_file():
            raise type(error)(f"{error}; the last finite weights are in {display_path(saved.last)}") from None
        raise
    if trainer.fast_dev_run or saved is None:
        log.info("nothing was saved, so nothing is tested")
        return None
    if trainer.fit_loop.epoch_loop.batch_progress.total.completed == 0:
        raise InputError("not one step was made: raise trainer.max_epochs, max_steps, max_time or limit_train_batches")
    seconds = time.perf_counter() - started
    if trainer.is_global_zero:
        write_results(cfg, folder, trainer, saved, start, seconds, objectives())
        log.info("\n%s", next_steps(folder, trainer.loggers, seconds))
    return saved.best_score


def summary(cfg: DictConfig, data, model, trainer) -> str:
    """What is about to be trained, on what, where."""
    count = sum(parameter.numel() for parameter in model.parameters())
    device = trainer.strategy.root_device
    return (
        f"{type(model).__name__}, {count:,} parameters, on {device}; data={data.name}: "
        f"{len(data.train_set):,} images to train, {len(data.val_set):,} to validate; seed {cfg.seed}"
    )


def check_task(info, task, views: int) -> None:
    """Raise InputError for a number that is to be estimated, or a head that is solved for, with what is not for it."""
    require(views in COUNTS, f"views={views}: 1, or 5 for the mean over turned and scaled copies")
    closed, mixed = bool(task.method and task.method.closed_form), bool(task.mixup or task.cutmix)
    require(not (closed and mixed), "this method is solved from whole labels: leave task.mixup and task.cutmix out")
    if not info.target:
        return
    require(isinstance(task.loss, MeanSquaredError), f"{info.target} is a number, not a class: give loss=mse")
    require(not mixed, f"{info.target} is a number: leave task.mixup and task.cutmix out")
    require(not closed, f"{info.target} is a number: this method is for classes")
    require(views == 1, f"{info.target} is a number: leave views out")


def next_steps(folder: Path, loggers: list, seconds: float) -> str:
    """What is where, and what to type next."""
    run = display_path(folder)
    lines = [f"{seconds:.1f} s; everything is in {run}"]
    if loggers:
        program = f"{display_path(Path(sys.executable).parent)}/tensorboard"
        lines.append(f"  watch     {program} --logdir {display_path(folder.parent)}")
    lines.append(f"  evaluate  python -m src.evaluate ckpt={run}")
    lines.append(f"  draw      python -m src.serve ckpt={run}")
    return "\n".join(lines)
