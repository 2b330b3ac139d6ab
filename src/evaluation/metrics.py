"""What is measured of a classifier, from probabilities and labels."""

from functools import partial

from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from src.data.info import DataInfo

CALIBRATION_BINS = 15


def make_classification_metrics(num_classes: int, **options) -> MetricCollection:
    """The figures of every evaluation, for probabilities (B, K) and labels (B,).

    acc: share of right answers. precision, recall, f1: means over classes (macro). top2: share whose class is among
    the two likeliest (with three classes or more). ece: expected calibration error over 15 bins (Guo et al. 2017).
    options: of every torchmetrics metric.
    """
    plain = {"num_classes": num_classes, "validate_args": False, **options}
    metrics = {
        "acc": MulticlassAccuracy(average="micro", **plain),
        "precision": MulticlassPrecision(average="macro", **plain),
        "recall": MulticlassRecall(average="macro", **plain),
        "f1": MulticlassF1Score(average="macro", **plain),
        "ece": MulticlassCalibrationError(n_bins=CALIBRATION_BINS, **plain),
    }
    if num_classes > 2:
        metrics["top2"] = MulticlassAccuracy(average="micro", top_k=2, **plain)
    return MetricCollection(metrics)


def make_regression_metrics(**options) -> MetricCollection:
    """The figures of an evaluation of estimated numbers (B,) against true ones (B,).

    mae: mean absolute error; rmse: root of the mean squared error; r2: share of the variance that is explained.
    """
    from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

    metrics = {"mae": MeanAbsoluteError, "rmse": partial(MeanSquaredError, squared=False), "r2": R2Score}
    return MetricCollection({name: make(**options) for name, make in metrics.items()})


class ClassifierMetrics(nn.Module):
    """What a network's outputs are worth, for classes or for a number, as the facts of the data say."""

    def __init__(self, info: DataInfo):
        super().__init__()
        self.scale = info.scale if info.target else None
        self.metrics = make_regression_metrics() if info.target else make_classification_metrics(info.num_classes)
        self.acc = None if info.target else make_accuracy(info.num_classes)

    def of_split(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Every metric and the loss of a whole split: logits (N, K) and int64 (N,), or numbers (N, 1) and (N,)."""
        if self.scale is None:
            self.metrics.update(outputs.softmax(1), labels)
            loss = nn.functional.cross_entropy(outputs, labels)
        else:
            self.metrics.update(outputs[:, 0] * self.scale, labels * self.scale)
            loss = nn.functional.mse_loss(outputs[:, 0], labels)
        values = {**self.metrics.compute(), "loss": loss}
        self.metrics.reset()
        return values

    def of_training(self, answers: Tensor, labels: Tensor) -> dict[str, float]:
        """The accuracy of answers (N,), by its full name; nothing for numbers."""
        if self.acc is None:
            return {}
        self.acc.update(answers, labels)
        value = float(self.acc.compute())
        self.acc.reset()
        return {"train/acc": value}


def make_accuracy(num_classes: int) -> MulticlassAccuracy:
    """Share of right answers."""
    return MulticlassAccuracy(num_classes, average="micro", validate_args=False)
