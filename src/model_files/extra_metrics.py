"""The metrics that a config adds to the usual ones, `metrics.<name>`: torchmetrics' or the user's own."""

import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torchmetrics import Metric

from src.data.info import DataInfo
from src.errors import InputError, printable, require
from src.evaluation.metrics import RESERVED
from src.evaluation.monitor import declare_metric
from src.model_files.trust import NAME, find_object, is_trusted, trust_advice

log = logging.getLogger(__name__)
MANY = DataInfo((1, 1, 1), tuple(map(str, range(1000))), (0.5,), (0.5,))  # before the data are known


def build_metrics(nodes: object, info: DataInfo) -> dict[str, Metric]:
    """The metrics of a config by name; num_classes and the task of a classifier are filled in.

    nodes: name -> `_target_` and arguments. A metric is updated with probabilities (N, K) and labels (N,), or with
    estimates (N,) and true values (N,) of a regression target, and computes one number.
    Raises InputError for a name that is taken, a class that is no torchmetrics metric, and arguments that it refuses.
    """
    if not isinstance(nodes, Mapping | None):
        raise InputError(f"metrics={printable(nodes, 100)}: metrics by name, each with a _target_")
    metrics = {}
    for name, options in (nodes or {}).items():
        key = f"metrics.{name}"
        fine = isinstance(name, str) and NAME.fullmatch(name) and "." not in name
        require(bool(fine), f"{key}: a name of letters, digits and _, such as metrics.auroc")
        require(name not in RESERVED, f"{key}: {name} is the name of another value: give this metric another one")
        named = isinstance(options, Mapping) and isinstance(options.get("_target_"), str)
        require(named, f"{key} has no _target_: the class, such as torchmetrics.classification.MulticlassAUROC")
        metrics[name] = _build_metric(key, options, info)
    return metrics


def _build_metric(key: str, options: Mapping[str, Any], info: DataInfo) -> Metric:
    target = options["_target_"]
    cls = find_object(target, f"{key}._target_={target}")
    require(isinstance(cls, type) and issubclass(cls, Metric), f"{key}._target_={target} is no torchmetrics metric")
    parameters = inspect.signature(cls).parameters
    facts = {} if info.target else {"num_classes": info.num_classes, "task": "multiclass"}
    arguments = {name: value for name, value in facts.items() if name in parameters}
    arguments |= {name: value for name, value in options.items() if not name.startswith("_")}
    try:
        metric = cls(**arguments)
    except Exception as error:  # of a user's own, or one of torchmetrics' many
        raise InputError(f"{key}: {target} refused its arguments ({printable(error, 200)})") from None
    require(isinstance(metric, Metric), f"{key}._target_={target} is no torchmetrics metric")
    return metric


def declare_directions(nodes: object) -> None:
    """Tell `monitor_mode` of each metric whether more of it is better; checks all but what depends on the data."""
    for name, metric in build_metrics(nodes, MANY).items():
        declare_metric(name, metric.higher_is_better)


def declare_stored(nodes: object) -> None:
    """`declare_directions` of a run's folder: of metrics that it may name; for others the name decides."""
    for name, metric in stored_metrics({"metrics": nodes}, MANY, "a run").items():
        declare_metric(name, metric.higher_is_better)


def try_metrics(metrics: Mapping[str, Metric], info: DataInfo) -> None:
    """Raise InputError for a metric that cannot take this network's outputs, or computes other than one number."""
    count = 4 * max(2, info.num_classes)
    generator = torch.Generator().manual_seed(0)
    if info.target:
        inputs = torch.rand(count, generator=generator), torch.rand(count, generator=generator)
    else:
        logits = torch.rand(count, info.num_classes, generator=generator)
        inputs = logits.softmax(1), torch.arange(count) % info.num_classes
    for name, metric in metrics.items():
        key = f"metrics.{name}: {type(metric).__name__}"
        try:
            metric.update(*inputs)
            value = metric.compute()
            metric.reset()
        except Exception as error:
            what = "estimates (N,) and values (N,)" if info.target else "probabilities (N, K) and labels (N,)"
            raise InputError(f"{key} cannot be computed of {what}: {printable(error, 200)}") from None
        single = isinstance(value, torch.Tensor) and value.numel() == 1
        shape = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        advice = f"give an average, such as metrics.{name}.average=macro"
        require(single, f"{key} computes {shape} and not one number: {advice}")


def stored_metrics(config: Mapping[str, Any], info: DataInfo, path: Path | str) -> dict[str, Metric]:
    """The metrics that a file's training added; one of the user's own only if its package is trusted, and the log says
    what is left out."""
    nodes = config.get("metrics") or {}
    metrics: dict[str, Metric] = {}
    for name, options in nodes.items() if isinstance(nodes, Mapping) else ():
        target = str(options.get("_target_")) if isinstance(options, Mapping) else ""
        try:
            advice = trust_advice(target) or "it is no metric"
            require(is_trusted(target) or target.startswith("torchmetrics."), f"it is {target}; {advice}")
            metrics |= build_metrics({name: options}, info)
            try_metrics({name: metrics[name]}, info)
        except InputError as error:
            metrics.pop(name, None)
            log.info("metrics.%s of %s is left out: %s", printable(name, 60), path, error)
    return metrics
