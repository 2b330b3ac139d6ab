"""A training session built from a config: data, network, task and trainer, before anything is written or trained."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from src.cli.config import instantiate, to_plain
from src.cli.process import check_training_options, quiet_libraries, set_threads
from src.data.datamodule import ImageData
from src.data.info import Output
from src.errors import InputError, choice, duration, is_integer, require
from src.files import OUTPUTS
from src.finetune.closed_form import ClosedForm
from src.inference.tta import VIEW_COUNTS
from src.model_files.checkpoint import CheckpointFiles, read_checkpoint
from src.model_files.locate import find_checkpoint
from src.model_files.renamed import with_current_targets
from src.training.callbacks import EarlyStopping, EpochProgressBar, NoProfiler, PruningCallback
from src.training.checkpoints import Checkpoints
from src.training.distillation import Distill
from src.training.initialize import InitialModel, apply_method, check_options, load_source
from src.training.losses import MeanSquaredError
from src.training.optimizers import check_optimizer
from src.training.resume import check_files, check_same_run, ended_results
from src.training.saved_state import check_saved_state
from src.training.stop import StopBetweenSteps
from src.training.task import Classifier
from src.training.trainer_state import callbacks_of, require_measured

ShouldPrune = Callable[[int, float | None], bool]


@dataclass
class Session:
    """One training: everything that `fit` runs and `write_results` reports.

    config: the resolved config as plain values; the checkpoint stores `initial.config`, which is that of the network.
    folder: of the run.
    overrides: the command; None for a session made in Python.
    checkpoints: None saves nothing.
    resume_from: the file of a run to resume.
    ended: the results of that run, if nothing is left to do.
    objectives: metrics that a search asks for besides the monitor.
    seconds: spent in `fit`, or in the whole command where `train` runs it.
    """

    config: dict
    folder: Path
    overrides: list[str] | None
    data: ImageData
    initial: InitialModel
    task: Classifier
    trainer: Trainer
    checkpoints: Checkpoints | None
    resume_from: Path | None = None
    ended: dict | None = None
    objectives: list[str] = field(default_factory=list)
    seconds: float = 0.0


def build(
    cfg: DictConfig,
    overrides: Sequence[str] | None = None,
    should_prune: ShouldPrune | None = None,
    objectives: Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
) -> Session:
    """The session of a config of `src.train`; reads the training images and seeds torch with cfg.seed.

    overrides: the command, kept in the checkpoint; None for a session made in Python. should_prune, objectives: of a
    search (`PruningCallback`, and the metrics it optimizes). callbacks: more of them, beside the config's.
    Raises InputError for options that cannot be used, alone or together, and for a source or a run that does not fit.
    """
    quiet_libraries()  # the Trainer reports its devices as soon as it is built
    check_training_options(cfg)
    set_threads(cfg.threads)
    config = with_current_targets(to_plain(cfg))  # a resumed run's command may name a class by an older path
    check_options(config)
    optimizer, scheduler = instantiate(cfg.optimizer, "optimizer"), instantiate(cfg.scheduler, "scheduler")
    check_optimizer(optimizer, scheduler)
    metric = objectives[0] if objectives else None
    pruning = [PruningCallback(metric, should_prune)] if should_prune is not None else []
    trainer, checkpoints = _trainer(cfg, [*callbacks, *pruning])
    torch.manual_seed(cfg.seed)
    data = instantiate(cfg.data, "data", augment=instantiate(cfg.augment, "augment"))
    data.setup()
    initial = _initial_model(cfg, config, data, overrides or ())
    loss = instantiate(cfg.loss, "loss", class_counts=data.class_counts)
    if isinstance(loss, Distill):
        loss.check(initial.info)
        initial.config["teacher"] = loss.net.digest  # a resumed run needs the same one
    resume_from, checkpoint, ended = _checkpoint_to_resume(cfg, initial)
    if initial.source is not None:
        data.normalize_by(initial.info.mean, initial.info.std)
    if cfg.compile:
        initial.model.compile()  # in place: the checkpoint's names stay as they are
    task = _task(cfg, config, initial, overrides, optimizer=optimizer, scheduler=scheduler, loss=loss)
    check_compatible(initial.info.output, task, cfg.views)
    check_limits(cfg.trainer, len(data.train_dataloader()), len(data.val_dataloader()))
    check_monitors(trainer, task.metrics.names)
    if resume_from and not ended:
        check_saved_state(checkpoint, trainer, task, data, resume_from)
        check_files(checkpoint, trainer)
    return Session(
        config=config,
        folder=Path(cfg.output_dir),
        overrides=None if overrides is None else list(overrides),
        data=data,
        initial=initial,
        task=task,
        trainer=trainer,
        checkpoints=checkpoints,
        resume_from=resume_from,
        ended=ended,
        objectives=list(objectives),
    )


def _initial_model(cfg: DictConfig, config: dict, data: ImageData, overrides: Sequence[str]) -> InitialModel:
    method = instantiate(cfg.finetune if cfg.finetune._target_ else None, "finetune")  # null in finetune=none
    info = data.info
    stored = {key: value for key, value in config.items() if key not in ("output_dir", "resume_from")}
    if cfg.init_from:
        initial = load_source(stored, info, OUTPUTS, overrides)
    else:
        model = instantiate(cfg.model, "model", shape=info.shape, num_classes=info.num_classes)
        initial = InitialModel(model, info, config=stored)
    return apply_method(initial, method, config["finetune"])


def _checkpoint_to_resume(cfg: DictConfig, initial: InitialModel) -> tuple[Path | None, dict, dict | None]:
    """The last.ckpt of the run that is resumed, its content, and the run's results if it has ended."""
    if not cfg.resume_from:
        return None, {}, None
    path = find_checkpoint(cfg.resume_from, OUTPUTS, "last.ckpt", "resume_from")
    checkpoint = read_checkpoint(path)
    check_same_run(checkpoint["config"], initial.config)
    return path, checkpoint, ended_results(Path(cfg.output_dir), checkpoint, initial.config)


def _task(cfg: DictConfig, config: dict, initial: InitialModel, overrides: Sequence[str] | None, **parts) -> Classifier:
    source = initial.source if cfg.checkpoint == "adapter" else None  # which the checkpoint then refers to
    return Classifier(
        initial.model,
        initial.info,
        method=initial.method,
        **config["task"],
        seed=cfg.seed,
        log_every=cfg.trainer.log_every_n_steps,
        config={**initial.config, "overrides": None if overrides is None else list(overrides)},
        base={"file": source.file, "sha256": source.digest} if source is not None else None,
        **parts,
    )


def _trainer(cfg: DictConfig, extra_callbacks: Sequence[Callback]) -> tuple[Trainer, Checkpoints | None]:
    nodes = cfg.get("callbacks") or {}
    require(
        "checkpoints" in nodes,
        "no callback saves the network: give callbacks=[default,...], or callbacks.checkpoints=null on purpose",
    )
    callbacks = [instantiate(node, f"callbacks.{name}") for name, node in nodes.items() if node]
    if cfg.dashboard._target_:
        callbacks.append(instantiate(cfg.dashboard, "dashboard"))
    if not cfg.trainer.enable_progress_bar:
        callbacks = [callback for callback in callbacks if not isinstance(callback, EpochProgressBar)]
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
        enable_progress_bar=any(isinstance(callback, EpochProgressBar) for callback in callbacks),
        enable_checkpointing=checkpoints is not None,
        profiler=cfg.trainer.profiler or NoProfiler(),
        max_time=None if seconds is None else timedelta(seconds=seconds),
    )
    return trainer, checkpoints


def check_limits(trainer: DictConfig, train_batches: int, val_batches: int) -> None:
    """Raise InputError for a share of an epoch's batches that is less than one, and validation after more than all."""
    keys = ("limit_train_batches", "limit_val_batches", "overfit_batches", "val_check_interval")
    for key in keys:
        count, value = val_batches if key == "limit_val_batches" else train_batches, trainer.get(key)
        batches = f"{count} batch{'es' * (count != 1)}"
        if isinstance(value, float) and 0 < value < 1 and value * count < 1:
            least = f"{math.ceil(1000 / count) / 1000:g} or more, or a number of batches"
            raise InputError(f"trainer.{key}={value} of {batches} is none: give {least}")
        if key == "val_check_interval" and is_integer(value) and trainer.check_val_every_n_epoch is not None:
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
