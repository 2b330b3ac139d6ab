"""Continual learning built from a config, and its results."""

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.cli.config import instantiate
from src.cli.error_line import error_line
from src.cli.overrides import override_key
from src.data.data_sets import Renewal
from src.data.datamodule import ImageData
from src.data.info import DataInfo
from src.data.per_image import as_augmentation
from src.data.scenario import NO_LIMIT, Scenario
from src.errors import InputError, require
from src.evaluation.continual import summarize_tasks, task_accuracies
from src.evaluation.evaluate import predict
from src.files import OUTPUTS
from src.finetune.closed_form import ClosedForm
from src.finetune.continual import ContinualMethod, PlainTraining
from src.finetune.replay import Replay
from src.model_files.checkpoint import load_model, read_checkpoint
from src.model_files.locate import find_checkpoint
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
    method = instantiate(cfg.continual, "continual") if cfg.continual._target_ else PlainTraining()
    _check_learned(scenario, method, cfg.init_from, cfg.head)
    _set_length(cfg, scenario, {override_key(word) for word in overrides})
    if not is_ordinary(scenario, method):
        _check_trainer(cfg, scenario)
    return scenario, method


def is_ordinary(scenario: Scenario, method: ContinualMethod) -> bool:
    """Whether training is as without tasks: one of them by a method that changes no step."""
    return scenario.num_trained == 1 and method.ordinary and scenario.reading == "class"


def _check_learned(scenario: Scenario, method: ContinualMethod, init_from: str | None, head: str) -> None:
    learned, tasks = scenario.learned, scenario.num_tasks
    require(learned < tasks, f"scenario.learned={learned} of {tasks} tasks leaves none to train: 0 to {tasks - 1}")
    old = method.old_images is not None  # which trains on the earlier tasks, too
    known = bool(init_from) or old or not learned
    told = "scenario=renewal" if isinstance(scenario, Renewal) else f"scenario.learned={learned}"
    require(known, f"{told}: give init_from=<the network that learned>")
    kept = not (learned and init_from and head == "reset")
    require(kept, f"head=reset forgets the classes of scenario.learned={learned}: leave head out")


def _set_length(cfg: Any, scenario: Scenario, typed: set[str]) -> None:
    """Let the trainer run for all tasks, or a task as long as the trainer is told to."""
    if scenario.epochs == NO_LIMIT:
        epochs = cfg.trainer.max_epochs
        scenario.epochs = NO_LIMIT if epochs in (None, -1) else epochs
        require(scenario.num_trained == 1, "scenario.epochs=null goes with one task: say how long each of them trains")
    else:
        require(
            "trainer.max_epochs" not in typed,
            "trainer.max_epochs: scenario.epochs says how long each task trains; leave it out",
        )
        cfg.trainer.max_epochs = scenario.num_trained * scenario.epochs
    checkpoints = cfg.callbacks.get("checkpoints")
    if scenario.num_trained > 1:
        cfg.trainer.reload_dataloaders_every_n_epochs = 1
    if checkpoints and (scenario.num_trained > 1 or checkpoints.choose == "auto"):
        checkpoints.choose = "last"  # an earlier epoch knows less of the new task


def _check_trainer(cfg: Any, scenario: Scenario) -> None:
    for key, value in {"devices": 1, "num_nodes": 1}.items():
        one = cfg.trainer[key] in (value, str(value), [0])
        require(one, f"trainer.{key}={cfg.trainer[key]}: continual learning runs on one device")
    require(not cfg.trainer.overfit_batches, "trainer.overfit_batches: tasks have batches of their own; leave it out")
    mixed = cfg.task.mixup or cfg.task.cutmix
    require(not mixed, "task.mixup, task.cutmix: methods of continual learning need whole labels; leave both out")
    stopping = bool(cfg.callbacks.get("early_stopping")) and scenario.num_trained > 1
    require(not stopping, "callbacks=early_stopping ends training within a task; leave it out")


def build_training_data(cfg: Any, scenario: Scenario | None, method: ContinualMethod | None) -> ImageData:
    """The data of a config, in tasks if there is a scenario."""
    augment = as_augmentation(instantiate(cfg.augment, "augment"))
    if scenario is None:
        return instantiate(cfg.data, "data", augment=augment)
    node = cfg.data.copy()
    node._target_ = "src.data.task_data.TaskData"
    old_images = None if method is None else method.old_images
    return instantiate(node, "data", augment=augment, scenario=scenario, old_images=old_images)


def task_checkpoints(cfg: Any, scenario: Scenario | None) -> list[TaskCheckpoints]:
    """The callback that saves the network after each task, if there are any and networks are saved."""
    wanted = scenario is not None and cfg.trainer.enable_checkpointing
    return [TaskCheckpoints(Path(str(cfg.output_dir)) / "checkpoints")] if wanted else []


def check_learner(learner: Classifier, reading: str) -> None:
    """Raise InputError for a loss or a way of fine-tuning that cannot go from task to task."""
    if not isinstance(learner, TaskLearner) or learner.ordinary:
        return
    images = getattr(learner.loss, "wants_images", False)
    name = type(learner.loss).__name__
    require(not images, f"loss={name}: continual learning needs a loss of logits and labels, as loss=cross_entropy")
    closed = isinstance(learner.method, ClosedForm)
    require(not closed, "a head that is solved for cannot go from task to task: give another finetune=")
    hidden = reading == "task" and bool(getattr(learner.loss, "label_smoothing", None))
    require(not hidden, "loss.label_smoothing: with scenario.reading=task it would reach hidden classes; leave it out")


def learner_options(
    scenario: Scenario | None, method: ContinualMethod | None, init_from: str | None, info: DataInfo
) -> dict[str, Any]:
    """What TaskLearner has beside the options of Classifier; nothing for data that arrive at once.

    A method with a replay buffer starts with that of init_from, where no task of the scenario was learned before.
    """
    if scenario is None or method is None:
        return {}
    if init_from and not scenario.learned and isinstance(method, Replay):
        _inherit_buffer(method, find_checkpoint(init_from, OUTPUTS, key="init_from"), info)
    return {"continual": method, "ordinary": is_ordinary(scenario, method)}


def _inherit_buffer(method: Replay, init_from: Path, info: DataInfo) -> None:
    if init_from.suffix != ".ckpt":
        return
    checkpoint = read_checkpoint(init_from)
    state = checkpoint.get("continual")
    if not isinstance(state, dict) or "buffer" not in state:
        log.info("init_from has no replay buffer: this one starts empty, and scenario.learned would fill it")
        return
    names = checkpoint["facts"]["class_names"]
    renamed = {label: info.class_names.index(name) for label, name in enumerate(names) if name in info.class_names}
    try:
        count, held = method.inherit(state, renamed), len(state["buffer"]["labels"])
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"init_from={init_from}: its replay buffer is damaged ({error_line(error)})") from None
    left = f", {held - count} of other classes are left out" if count < held else ""
    log.info(
        "init_from has a replay buffer: %d of its images go on in this one%s", min(count, method.buffer.size), left
    )


def measure_tasks(learner: TaskLearner, device: str, test: bool, chosen: Path) -> dict[str, Any]:
    """Accuracies on the validation and the test split of each task, before the first that trains and after each,
    through the checkpoints that were written then; a run that was cut short has fewer of them.

    test: whether the test split is read. chosen: the checkpoint of the run, which is the one after an only task.
    """
    tasks, trainer = learner.tasks, learner.trainer
    saved = next(callback for callback in callbacks_of(trainer) if isinstance(callback, TaskCheckpoints))
    splits = {"val": tasks.val_set, **({"test": tasks.test_set} if test else {})}
    learned, count = tasks.scenario.learned, tasks.num_tasks
    unknown: list[list[float | None]] = [[None] * count] * learned
    matrices = {name: list(unknown) for name in splits}
    after = [chosen] if tasks.scenario.num_trained == 1 else map(saved.path, range(learned + 1, count + 1))
    for path in itertools.takewhile(Path.is_file, [saved.path(learned), *after]):
        net = load_model(path)
        for name, split in splits.items():
            logits, labels = predict(net, tasks.loader(split), device)
            visible = learner.continual.visible(logits.to(learner.device), labels.to(learner.device)).cpu()
            matrices[name].append(task_accuracies(visible, labels, split.task_of_each, count))
    return {
        "method": type(learner.continual).__name__,
        "reading": tasks.scenario.reading,
        "tasks": list(tasks.source.task_names),
        "learned_before": learned,
        **{name: {**summarize_tasks(matrix), "matrix": matrix} for name, matrix in matrices.items()},
    }
