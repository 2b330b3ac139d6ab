"""The metrics of every evaluation, for classes and for a regression target."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection, classification, regression

from src.data.info import DataInfo

CALIBRATION_BINS = 15
# Names of values that stand beside metrics in a log or in results.json.
RESERVED = frozenset({
    "acc", "precision", "recall", "f1", "ece", "top2", "mae", "rmse", "r2", "loss", "lr", "images_per_s", "images",
    "target", "acc_ci95", "per_class", "confusion", "temperature", "ece_uncalibrated", "epoch", "loss_step",
    "task_average", "learned", "forgetting", "forgetting_max", "backward_transfer", "forward_transfer",
})  # fmt: skip


def present_mean(values: Tensor, right: Any, missed: Any) -> Tensor:
    """The mean of a metric of each class (K,) over the classes that have an image.

    right, missed: images of each class that were recognised and that were not (K,). torchmetrics' own macro average
    counts a class without images as 0 as soon as one image is taken for it.
    """
    return values[right + missed > 0].mean()


class MacroPrecision(classification.MulticlassPrecision):
    """Precision, as `present_mean`."""

    def compute(self) -> Tensor:
        return present_mean(super().compute(), self.tp, self.fn)


class MacroRecall(classification.MulticlassRecall):
    """Recall, as `present_mean`."""

    def compute(self) -> Tensor:
        return present_mean(super().compute(), self.tp, self.fn)


class MacroF1(classification.MulticlassF1Score):
    """F1, as `present_mean`."""

    def compute(self) -> Tensor:
        return present_mean(super().compute(), self.tp, self.fn)


def make_classification_metrics(num_classes: int, **options: Any) -> MetricCollection:
    """Metrics of probabilities (B, K) and labels (B,).

    acc: share of right predictions. precision, recall, f1: means over the classes that have an image (macro). top2:
    share of images whose class is among the two likeliest, with three classes or more. ece: expected calibration error
    over 15 bins (Guo et al. 2017). options: of every torchmetrics metric.
    """
    shared = {"num_classes": num_classes, "validate_args": False, **options}
    metrics: dict[str, Metric | MetricCollection] = {
        "acc": classification.MulticlassAccuracy(average="micro", **shared),
        "precision": MacroPrecision(average="none", **shared),
        "recall": MacroRecall(average="none", **shared),
        "f1": MacroF1(average="none", **shared),
        "ece": classification.MulticlassCalibrationError(n_bins=CALIBRATION_BINS, **shared),
    }
    if num_classes > 2:
        metrics["top2"] = classification.MulticlassAccuracy(average="micro", top_k=2, **shared)
    return MetricCollection(metrics)


def make_regression_metrics(**options: Any) -> MetricCollection:
    """Metrics of estimated values (B,) and true ones (B,).

    mae: mean absolute error; rmse: root of the mean squared error; r2: share of the variance that is explained.
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "mae": regression.MeanAbsoluteError(**options),
        "rmse": regression.MeanSquaredError(squared=False, **options),
        "r2": regression.R2Score(**options),
    }
    return MetricCollection(metrics)


def compute_extra(extra: Mapping[str, Metric], outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Every metric of `extra`, each one number, on the device of the outputs."""
    values = {}
    for name, metric in extra.items():
        metric.to(outputs.device).update(outputs, labels)
        values[name] = metric.compute().float().reshape(())
        metric.reset()
    return values


class ClassifierMetrics(nn.Module):
    """The metrics of the task's network, of classes or of a regression target as `info` says.

    extra: more of them by name, which take the same inputs and compute one number each.
    """

    def __init__(self, info: DataInfo, extra: Mapping[str, Metric] | None = None):
        super().__init__()
        self.output, classes = info.output, info.num_classes
        self.acc: classification.MulticlassAccuracy | None = None
        if not self.output.is_number:
            self.acc = classification.MulticlassAccuracy(classes, average="micro", validate_args=False)
        self.metrics = make_regression_metrics() if self.acc is None else make_classification_metrics(classes)
        self.extra = dict(extra or {})  # no submodules: names such as train are an nn.Module's own

    @property
    def names(self) -> list[str]:
        """What every epoch of a training measures, as a config names it."""
        train = ["acc"] if self.acc is not None else []
        names = [f"val/{name}" for name in [*self.metrics.keys(), *self.extra, "loss"]]
        return sorted([*names, *(f"train/{name}" for name in [*train, "loss", "lr", "images_per_s"])])

    def compute_split(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Every metric and the loss of a whole split: logits (N, K) and int64 (N,), or values (N, 1) and (N,)."""
        inputs = self.output.metric_inputs(outputs, labels)
        self.metrics.update(*inputs)
        values = {**self.metrics.compute(), "loss": self.output.loss(outputs, labels)}
        self.metrics.reset()
        return values | compute_extra(self.extra, *inputs)

    def compute_train(self, predictions: Tensor, labels: Tensor) -> dict[str, float]:
        """train/acc of predicted classes (N,); nothing for a regression target."""
        if self.acc is None:
            return {}
        self.acc.update(predictions, labels)
        value = float(self.acc.compute())
        self.acc.reset()
        return {"train/acc": value}
