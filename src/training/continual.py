"""Continual learning built from a config, and its results."""

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.cli.config import instantiate
from src.cli.overrides import override_key
from src.data.datamodule import ImageData
from src.data.per_image import as_augmentation
from src.data.scenario import Scenario
from src.errors import require
from src.evaluation.continual import summarize_tasks, task_accuracies
from src.evaluation.evaluate import predict
from src.finetune.closed_form import ClosedForm
from src.finetune.continual import ContinualMethod
from src.model_files.checkpoint import load_model
from src.training.task import Classifier
from src.training.task_learner import TaskCheckpoints, TaskLearner
from src.training.trainer_state import callbacks_of

log = logging.getLogger(__name__)


def build_scenario(cfg: Any, overrides: Sequence[str]) -> tuple[Scenario | None, ContinualMethod | None]:
    """How the data arrive in tasks, and the method that learns them; None and None for data that arrive at once.

    The trainer's flags of `cfg` become those of the scenario. Raises InputError for options of no use together.
    """
    if cfg.scenario._target_ is None:
        given = "continual" in {override_key(word) for word in overrides} and cfg.continual._target_ is not None
        require(
            not given, "continual learning needs tasks: give scenario=split, permuted, rotated or data_sets; see --help"
        )
        return None, None
    scenario = instantiate(cfg.scenario, "scenario")
    method = instantiate(cfg.continual, "continual") if cfg.continual._target_ else ContinualMethod()
    typed = {override_key(word) for word in overrides}
    require(
        "trainer.max_epochs" not in typed,
        "trainer.max_epochs: scenario.epochs says how long each task trains; leave it out",
    )
    for key, value in {"devices": 1, "num_nodes": 1}.items():
        one = cfg.trainer[key] in (value, str(value), [0])
        require(one, f"trainer.{key}={cfg.trainer[key]}: continual learning runs on one device")
    require(not cfg.trainer.overfit_batches, "trainer.overfit_batches: tasks have batches of their own; leave it out")
    mixed = cfg.task.mixup or cfg.task.cutmix
    require(not mixed, "task.mixup, task.cutmix: methods of continual learning need whole labels; leave both out")
    stopping = bool(cfg.callbacks.get("early_stopping"))
    require(not stopping, "callbacks=early_stopping ends training within a task; leave it out")
    cfg.trainer.max_epochs = scenario.num_tasks * scenario.epochs
    cfg.trainer.reload_dataloaders_every_n_epochs = 1
    if cfg.callbacks.get("checkpoints"):
        cfg.callbacks.checkpoints.choose = "last"
    return scenario, method


def build_training_data(cfg: Any, scenario: Scenario | None, method: ContinualMethod | None) -> ImageData:
    """The data of a config, in tasks if there is a scenario."""
    augment = as_augmentation(instantiate(cfg.augment, "augment"))
    if scenario is None:
        return instantiate(cfg.data, "data", augment=augment)
    node = cfg.data.copy()
    node._target_ = "src.data.task_data.TaskData"
    cumulative = method is not None and method.cumulative
    return instantiate(node, "data", augment=augment, scenario=scenario, cumulative=cumulative)


def task_checkpoints(cfg: Any, scenario: Scenario | None) -> list[TaskCheckpoints]:
    """The callback that saves the network after each task, if there are any and networks are saved."""
    wanted = scenario is not None and cfg.trainer.enable_checkpointing
    return [TaskCheckpoints(Path(str(cfg.output_dir)) / "checkpoints")] if wanted else []


def check_learner(learner: Classifier, scenario: Scenario | None) -> None:
    """Raise InputError for a loss or a way of fine-tuning that cannot go from task to task."""
    if scenario is None:
        return
    images = getattr(learner.loss, "wants_images", False)
    name = type(learner.loss).__name__
    require(not images, f"loss={name}: continual learning needs a loss of logits and labels, as loss=cross_entropy")
    closed = isinstance(learner.method, ClosedForm)
    require(not closed, "a head that is solved for cannot go from task to task: give another finetune=")
    hidden = scenario.reading == "task" and bool(getattr(learner.loss, "label_smoothing", None))
    require(not hidden, "loss.label_smoothing: with scenario.reading=task it would reach hidden classes; leave it out")


def measure_tasks(learner: TaskLearner, device: str, test: bool) -> dict[str, Any]:
    """Accuracies on the validation and the test split of each task, before the first and after each, through the
    checkpoints that were written then; a run that was cut short has fewer of them.

    test: whether the test split is read.
    """
    tasks, trainer = learner.tasks, learner.trainer
    saved = next(callback for callback in callbacks_of(trainer) if isinstance(callback, TaskCheckpoints))
    splits = {"val": tasks.val_set, **({"test": tasks.test_set} if test else {})}
    matrices: dict[str, list[list[float | None]]] = {name: [] for name in splits}
    for path in itertools.takewhile(Path.is_file, map(saved.path, range(tasks.num_tasks + 1))):
        net = load_model(path)
        for name, split in splits.items():
            logits, labels = predict(net, tasks.loader(split), device)
            visible = learner.continual.visible(logits.to(learner.device), labels.to(learner.device)).cpu()
            matrices[name].append(task_accuracies(visible, labels, split.task_of_each, tasks.num_tasks))
    return {
        "method": type(learner.continual).__name__,
        "reading": tasks.scenario.reading,
        "tasks": list(tasks.source.task_names),
        **{name: {**summarize_tasks(matrix), "matrix": matrix} for name, matrix in matrices.items()},
    }
