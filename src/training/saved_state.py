"""The training state in a checkpoint, held against the state of the run that resumes it."""

import re
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from src.data.datamodule import ImageData
from src.data.info import DataInfo
from src.errors import InputError, is_integer, is_number, printable
from src.model_files.renamed import PACKAGE
from src.training.callbacks import EarlyStopping
from src.training.checkpoints import Checkpoints
from src.training.lr_range import RateRange
from src.training.optimizers import new_optimizer, trained_groups
from src.training.semi_supervised import SemiSupervised
from src.training.task import Classifier
from src.training.trainer_state import callbacks_of

MAX_COUNT = 1 << 31  # steps, epochs or images


class _MisfitError(ValueError):
    """An entry, and what is wrong with it."""


def check_saved_state(
    checkpoint: Mapping[str, Any], trainer: Trainer, task: Classifier, data: ImageData, path: Path | str
) -> None:
    """Raise InputError for a checkpoint that training cannot go on from.

    Its entries have the names, types and shapes of the run's own: those before its first step, or for the optimizer and
    its schedule those of copies that have made one.
    """
    callbacks, data_key = callbacks_of(trainer), type(data).__qualname__
    try:
        version = checkpoint.get("pytorch-lightning_version")
        known = isinstance(version, str) and re.fullmatch(r"2\.\d{1,4}\.\d{1,4}\S{0,20}", version)
        _need(known, "pytorch-lightning_version", "is not one of Lightning 2")
        _compare(checkpoint.get("loops"), {"fit_loop": trainer.fit_loop.state_dict()}, "loops", more=True)
        _check_counts(checkpoint["loops"]["fit_loop"], "loops.fit_loop")
        _check_weights(checkpoint, task)
        _check_callbacks(checkpoint.get("callbacks", {}), callbacks)
        for part in (data, trainer.precision_plugin):
            name, own = type(part).__qualname__, part.state_dict()
            _compare(checkpoint.get(name, own), own, name)
        _check_counts(checkpoint.get(data_key, {}), data_key)
        _check_optimization(checkpoint, task, callbacks)
        _check_sums(checkpoint.get("epoch_sums", []), task.info)
        if isinstance(task, SemiSupervised):
            _compare(checkpoint.get("unlabelled"), {"mean": task.mean, "sure_sum": task.sure_sum}, "unlabelled")
    except (_MisfitError, InputError) as problem:
        raise InputError(f"{path} is damaged: training cannot go on from it ({printable(problem, 250)})") from None


def _need(condition: object, name: str, problem: str) -> None:
    if not condition:
        raise _MisfitError(f"{printable(name, 120)} {printable(problem, 120)}")


def _compare(saved: Any, own: Any, name: str, more: bool = False, fewer: bool = False, settings: bool = False) -> None:
    """Raise _MisfitError unless a saved value is of the kind of the run's own; None and {} may have become anything.

    more, fewer: whether a mapping may have other names, or lack some. settings: whether what is no number is equal.
    A mapping of whole numbers, the parameters of an optimizer, may lack those that had no gradient.
    """
    if isinstance(own, dict):
        _need(isinstance(saved, dict), name, "is no mapping")
        if own or settings:
            lacking = [key for key in own if key not in saved and not is_integer(key)]
            _need(fewer or not lacking, name, f"lacks {lacking}")
            _need(more or saved.keys() <= own.keys(), name, f"has {[key for key in saved if key not in own]}")
        for key in own.keys() & saved.keys():
            _compare(saved[key], own[key], f"{name}.{key}", settings=settings)
    elif isinstance(own, list | tuple):
        _need(isinstance(saved, list | tuple), name, "is no list")
        _need(len(saved) == len(own) or not (own or settings), name, f"has {len(saved)} entries, not {len(own)}")
        for position, pair in enumerate(zip(saved, own, strict=False)):
            _compare(*pair, f"{name}.{position}", settings=settings)
        _need(not name.endswith(".params") or list(saved) == list(own), name, "are not those of this network")
    elif isinstance(own, Tensor):
        _check_tensor(saved, own.shape, own.is_floating_point(), name)
    elif is_number(own) or isinstance(own, float):
        most = MAX_COUNT if is_integer(own) or is_integer(saved) else float("inf")
        _need(isinstance(saved, int | float) and not isinstance(saved, bool), name, "is no number")
        _need((is_number(saved) and abs(saved) < most) or not isfinite(own), name, "is out of range")
        switched_on = own == 0 and saved != 0 and ".param_groups." in name  # a momentum that there is no state of
        _need(not switched_on, name, f"is {saved}, not 0")
    elif isinstance(own, bool | str) or (own is None and settings):
        _need(type(saved) is type(own), name, "is not of its type")
        _need(saved == own or not settings, name, f"is {saved}, not {own}")


def _check_counts(state: dict[str, Any], name: str) -> None:
    """Every number counts something; less than none of it only where `Checkpoints` took steps off."""
    for key, value in state.items():
        if isinstance(value, dict):
            _check_counts(value, f"{name}.{key}")
        elif not isinstance(value, bool):
            least = -MAX_COUNT if key == "_batches_that_stepped" else 0
            _need(is_integer(value) and least <= value < MAX_COUNT, f"{name}.{key}", "is no count")


def _check_tensor(value: Any, shape: tuple[int, ...], floating: bool, name: str) -> None:
    _need(isinstance(value, Tensor) and value.layout == torch.strided, name, "is no tensor")
    _need(value.shape == shape, name, f"has the shape {tuple(value.shape)}, not {tuple(shape)}")
    _need(not value.is_complex() and value.is_floating_point() == floating, name, f"is {value.dtype}")
    step = 1
    for stride, size in sorted(zip(value.stride(), value.shape, strict=True)):
        _need(size == 1 or stride == step, name, "has values that share their memory")  # and could not be updated
        step *= size


def _check_weights(checkpoint: Mapping[str, Any], task: Classifier) -> None:
    network = task.state_dict()
    partial = not task.strict_loading  # an adapter's: the others come from its source model
    _compare(checkpoint["state_dict"], network, "state_dict", more=partial, fewer=partial)
    if {"current_model_state", "averaging_state"} & checkpoint.keys():  # of callbacks.ema
        _compare(checkpoint.get("current_model_state"), network, "current_model_state")
        _compare(checkpoint.get("averaging_state"), {"n_averaged": torch.tensor(0)}, "averaging_state")


def _kind_of(part: Any) -> dict[str, Any] | None:
    """The state of a part from here, Lightning or torch; None for a user's, which may become anything."""
    known = type(part).__module__.partition(".")[0] in (PACKAGE, "lightning", "torch")
    return part.state_dict() if known else None


def _check_callbacks(saved: Any, callbacks: list[Callback]) -> None:
    own = {callback.state_key: _kind_of(callback) for callback in callbacks}
    _compare(saved, own, "callbacks", more=True, fewer=True)
    for callback in callbacks:
        if isinstance(callback, Checkpoints | EarlyStopping) and callback.state_key in saved:
            callback.check_state(saved[callback.state_key])


def _check_optimization(checkpoint: Mapping[str, Any], task: Classifier, callbacks: list[Callback]) -> None:
    saved = {name: checkpoint.get(name) for name in ("optimizer_states", "lr_schedulers")}
    groups = trained_groups(task.model, task.method, task.make_optimizer)
    if groups is None:
        _compare(saved, {name: [] for name in saved}, "the checkpoint")
        return
    copies = [{**group, "params": [torch.zeros_like(p).requires_grad_() for p in group["params"]]} for group in groups]
    for group in copies:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer = new_optimizer(task.make_optimizer, copies)
    scheduler = task.make_scheduler(optimizer, total_steps=1000)["scheduler"]
    try:
        with torch.random.fork_rng(devices=[]):
            optimizer.step()
    except TypeError:  # it wants a closure
        return
    own = {"optimizer_states": _kind_of(optimizer), "lr_schedulers": _kind_of(scheduler)}
    if saved["lr_schedulers"] == [] and any(isinstance(callback, RateRange) for callback in callbacks):
        del own["lr_schedulers"]  # it sets the rates itself
    for name, value in own.items():
        _compare(saved[name], [value], name, settings=value is not None)


def _check_sums(saved: Any, info: DataInfo) -> None:
    """What `EpochSums.state` returns: one mapping per process."""
    _need(isinstance(saved, list), "epoch_sums", "is no list")
    for rank, sums in enumerate(saved):
        name = f"epoch_sums.{rank}"
        _compare(sums, {"unread": [], "predictions": [], "loss": 0.0, "images": 0}, name)
        for loss, logits, labels in _entries(sums["unread"], 3, f"{name}.unread"):
            count = _check_labels(labels, info.target is None, info, f"{name}.unread")
            _check_tensor(loss, (), True, f"{name}.unread")
            _check_tensor(logits, (count, info.num_classes), True, f"{name}.unread")
        images = 0
        for classes, labels in _entries(sums["predictions"], 2, f"{name}.predictions"):
            count = _check_labels(labels, info.target is None, info, f"{name}.predictions")
            same = count == _check_labels(classes, True, info, f"{name}.predictions")
            _need(same, f"{name}.predictions", "has more labels than classes, or fewer")
            images += count
        _need(sums["images"] == images, f"{name}.images", f"is not {images}, as many as its predictions")


def _entries(value: Any, length: int, name: str) -> list:
    whole = isinstance(value, list) and all(isinstance(entry, list) and len(entry) == length for entry in value)
    _need(whole, name, f"is no list of {length} tensors each")
    return value


def _check_labels(value: Any, classes: bool, info: DataInfo, name: str) -> int:
    """How many there are of classes (N,), or of values of a regression target."""
    _need(isinstance(value, Tensor) and value.ndim == 1 and len(value), name, "is no list of labels")
    _check_tensor(value, value.shape, not classes, name)
    _need(not classes or (value.min() >= 0 and value.max() < info.num_classes), name, "has classes that are not there")
    return len(value)
