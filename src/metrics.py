"""What is measured of a classifier, from probabilities and labels."""

from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from src.errors import require

CALIBRATION_BINS = 15


def make_metrics(num_classes: int, prefix: str = "", **options) -> MetricCollection:
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
    return MetricCollection(metrics, prefix=prefix)


def direction(name: str, given: str = "auto") -> str:
    """max for a metric that should rise, min for one that should fall, by its name; `given` where it is not auto.

    Raises InputError for anything but auto, min and max.
    """
    require(given in ("auto", "min", "max"), f"mode={given}: auto, min or max")
    falls = name.rpartition("/")[2] in ("loss", "ece")
    return given if given != "auto" else "min" if falls else "max"


def make_accuracy(num_classes: int) -> MulticlassAccuracy:
    """Share of right answers."""
    return MulticlassAccuracy(num_classes, average="micro", validate_args=False)
