"""A training session built from a config: data, network, task and trainer, before anything is written or trained."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from omegaconf import DictConfig, OmegaConf
from torchmetrics import Metric

from src.cli.config import instantiate, to_plain
from src.cli.process import check_training_options, quiet_libraries, set_threads
from src.data.datamodule import ImageData
from src.data.info import DataInfo
from src.data.per_image import try_augmentation
from src.data.scenario import Scenario
from src.data.seen_images import seen_in_training
from src.data.unlabelled import unlabelled_images
from src.errors import InputError
from src.files import OUTPUTS
from src.inference.model import InferenceModel
from src.model_files.extra_metrics import build_metrics, try_metrics
from src.model_files.renamed import with_current_targets
from src.model_files.trust import trusted
from src.models.memory_format import set_memory_format
from src.pictures.inputs import resolve_ink
from src.training.callbacks import PruningCallback
from src.training.checkpoints import Checkpoints
from src.training.compatibility import check_compatible, check_limits, check_monitors
from src.training.continual import (
    build_scenario,
    build_training_data,
    check_learner,
    learner_options,
    task_checkpoints,
)
from src.training.distillation import Distill
from src.training.initialize import (
    InitialModel,
    apply_method,
    check_options,
    check_single_images,
    copy_source,
    load_source,
    network_options,
    new_network,
    set_normalization,
)
from src.training.own_parts import build_loss, build_optimization, try_network
from src.training.resume import check_files, check_same_run, checkpoint_to_resume, ended_results
from src.training.saved_state import check_saved_state
from src.training.semi_supervised import SemiSupervised, unlabelled_options
from src.training.task import Classifier
from src.training.task_learner import TaskLearner
from src.training.trainer import build_trainer

log = logging.getLogger(__name__)

ShouldPrune = Callable[[int, float | None], bool]


@dataclass
class Session:
    """One training: everything that `fit` runs and `write_results` reports.

    config: the resolved config as plain values, with the model that is trained; the checkpoint has `initial.config`.
    folder: of the run.
    overrides: the command; None for a session made in Python.
    checkpoints: None saves nothing.
    resume_from: the file of a run to resume. ended: the results of that run, if nothing is left to do.
    objectives: metrics that a search asks for besides the monitor.
    started: on time.perf_counter's clock, when the command began, or without one `fit`; None before.
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
    started: float | None = None

    @property
    def seconds(self) -> float:
        """Since it started; 0 before."""
        return 0.0 if self.started is None else time.perf_counter() - self.started


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
    with trusted(cfg.trust):
        return _build(cfg, overrides, should_prune, objectives, callbacks)


def _build(
    cfg: DictConfig,
    overrides: Sequence[str] | None,
    should_prune: ShouldPrune | None,
    objectives: Sequence[str],
    callbacks: Sequence[Callback],
) -> Session:
    quiet_libraries()  # the Trainer reports its devices as soon as it is built
    check_training_options(cfg)
    set_threads(cfg.threads)
    scenario, continual = build_scenario(cfg, overrides or ())
    config = with_current_targets(to_plain(cfg))  # a resumed run's command may name a class by an older path
    check_options(config)
    optimizer, scheduler = build_optimization(cfg, config)
    added = _added_callbacks(cfg, scenario, should_prune, objectives)
    trainer, checkpoints = build_trainer(cfg, [*callbacks, *added])
    torch.manual_seed(cfg.seed)
    data = build_training_data(cfg, scenario, continual)
    source = load_source(cfg.init_from, OUTPUTS) if cfg.init_from else None
    resume_from, checkpoint = checkpoint_to_resume(cfg.resume_from)
    if resume_from:
        check_same_run(checkpoint["config"], config, unread=True)
    _read_data(data, source, checkpoint, cfg.test)
    try_augmentation(data.augment, data.train_set[torch.arange(min(2, len(data.train_set)))][0])
    config["data"] |= data.settled
    initial = _initial_model(cfg, config, data, source, overrides or ())
    loss = build_loss(cfg.loss, initial.info, data.class_counts, bool(cfg.task.mixup or cfg.task.cutmix))
    metrics = _metrics(config, initial)
    if isinstance(loss, Distill):
        loss.check(initial.info)
        initial.config["teacher"] = loss.net.digest  # a resumed run needs the same one
    unlabelled = unlabelled_images(data)
    seen = seen_in_training(data.train_set, data.val_set, source.seen if source is not None else None, unlabelled)
    ended = ended_results(Path(cfg.output_dir), checkpoint, initial.config, seen)
    set_normalization(initial, data, checkpoint)
    _prepare(cfg, initial, data, None if ended else trainer.strategy.root_device)
    parts = {"optimizer": optimizer, "scheduler": scheduler, "loss": loss, "metrics": metrics, "seen": seen}
    parts |= learner_options(scenario, continual, None if resume_from else cfg.init_from, initial.info)
    parts |= unlabelled_options(unlabelled, config["unlabelled"], initial, "continual" in parts)
    task = _task(cfg, config, initial, overrides, **parts)
    check_learner(task, scenario.reading if scenario else "class")
    check_compatible(initial.info.output, task, cfg.views)
    check_limits(cfg.trainer, len(data.train_dataloader()), len(data.val_dataloader()))
    check_monitors(trainer, task.metrics.names)
    if resume_from and not ended:
        check_saved_state(checkpoint, trainer, task, data, resume_from)
        check_files(checkpoint, trainer)
    return Session(
        config={**config, "model": initial.config["model"]},
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


def _added_callbacks(
    cfg: DictConfig, scenario: Scenario | None, should_prune: ShouldPrune | None, objectives: Sequence[str]
) -> list[Callback]:
    pruning = [] if should_prune is None else [PruningCallback(next(iter(objectives), None), should_prune)]
    return [*pruning, *task_checkpoints(cfg, scenario)]


def _metrics(config: dict, initial: InitialModel) -> dict[str, Metric]:
    metrics = build_metrics(config["metrics"], initial.info)
    try_metrics(metrics, initial.info)
    return metrics


def _initial_model(
    cfg: DictConfig, config: dict, data: ImageData, source: InferenceModel | None, overrides: Sequence[str]
) -> InitialModel:
    method = instantiate(cfg.finetune if cfg.finetune._target_ else None, "finetune")  # null in finetune=none
    info = data.info
    stored = {key: value for key, value in config.items() if key not in ("output_dir", "resume_from")}
    if source is not None:
        initial = copy_source(stored, source, info, overrides)
    else:
        node = OmegaConf.create(network_options(config, method))
        model = instantiate(node, "model", shape=info.shape, num_classes=info.num_classes)
        try_network(model, stored, info)
        initial = new_network(model, info, stored)
    initial = apply_method(initial, method, config["finetune"])
    check_single_images(initial, data)
    return initial


def _prepare(cfg: DictConfig, initial: InitialModel, data: ImageData, device: torch.device | None) -> None:
    """Let the method choose, on `device`, by the labelled images, unless it is None; bring the network to its form."""
    if initial.method is not None and device is not None:
        initial.method.prepare(initial.model, data, initial.source, device)
    _set_memory_format(initial, cfg.memory_format)
    if cfg.compile:
        initial.model.compile()  # in place: the checkpoint's names stay as they are


def _set_memory_format(initial: InitialModel, memory_format: object) -> None:
    reason = set_memory_format(initial.model, initial.info.shape, memory_format)
    name = type(initial.model).__name__
    if reason and memory_format == "channels_last":
        raise InputError(f"memory_format=channels_last: {name} cannot compute in it ({reason}); leave it out")
    if reason:
        log.info("%s computes in the contiguous memory format, not in channels last: %s", name, reason)


def _read_data(data: ImageData, source: InferenceModel | None, resumed: dict, test: bool) -> None:
    """Read the training images as a trained network reads them, and the test images if one of them may be damaged."""
    if source is not None or resumed:
        info = source.info if source is not None else DataInfo.from_dict(resumed["facts"])
        trained = source.config if source is not None else resumed["config"]
        data.read_as(info.shape, resolve_ink("auto", info.shape, trained["data"]))
    data.setup()
    if test and data.source.may_be_damaged:
        _ = data.test_set


def _task(cfg: DictConfig, config: dict, initial: InitialModel, overrides: Sequence[str] | None, **parts) -> Classifier:
    learner = TaskLearner if "continual" in parts else SemiSupervised if "images" in parts else Classifier
    parts = {key: value for key, value in parts.items() if value is not None}
    source = initial.source if cfg.checkpoint == "adapter" else None  # which the checkpoint then refers to
    return learner(
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
