"""A trained network on a split: its predictions, their metrics, and a table of them."""

import math
import statistics
import timeit
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import Metric
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

from src.data.info import DataInfo
from src.errors import printable
from src.evaluation.metrics import (
    CALIBRATION_BINS,
    RESERVED,
    compute_extra,
    make_classification_metrics,
    make_regression_metrics,
)
from src.inference.model import Predictor
from src.plotting import MANY_CLASSES, text_table

Z95 = 1.959963984540054  # quantile of the normal distribution for a 95 % interval
WARM_UP = 20
WORST = 10  # classes and pairs that are shown of more than MANY_CLASSES


def predict(net: Predictor, loader: DataLoader, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Logits float32 (N, K) and labels int64 (N,) of a loader of raw grey levels, on the CPU."""
    net = net.to(device).eval()
    logits, labels = [], []
    with torch.inference_mode():
        for images, targets in loader:
            logits.append(net(images.to(device)).float().cpu())
            labels.append(targets.cpu())
    return torch.cat(logits), torch.cat(labels)


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """95 % interval of the share `right` of `count` > 0 (Wilson 1927)."""
    share, spread = right / count, Z95 * Z95 / count
    center = share + spread / 2
    half = Z95 * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, (center - half) / (1 + spread)), min(1.0, (center + half) / (1 + spread))


def compute_metrics(
    logits: Tensor,
    labels: Tensor,
    info: DataInfo,
    temperature: float | None = None,
    extra: Mapping[str, Metric] | None = None,
) -> dict[str, Any]:
    """Every metric of an evaluation, as plain values; of a regression target in its unit.

    logits: (N, K); labels: (N,), N > 0; of a regression target (N, 1) and (N,), both over `info.scale`. acc_ci95 is
    Wilson's interval; per_class has each class' accuracy (its recall); confusion has a row per true class. With a
    temperature, ece is of the calibrated probabilities, ece_uncalibrated of the others; no other metric depends on it.
    extra: more metrics by name (`src.model_files.extra_metrics`).
    """
    inputs = info.output.metric_inputs(logits, labels)
    more = {name: float(value) for name, value in compute_extra(extra or {}, *inputs).items()}
    if info.output.is_number:
        collection = make_regression_metrics(sync_on_compute=False)
        collection.update(*inputs)
        values = {name: float(value) for name, value in collection.compute().items()}
        return {"images": len(labels), "target": info.target, **values, **more}
    classes, probs = info.num_classes, logits.softmax(1)
    collection = make_classification_metrics(classes, sync_on_compute=False)  # every process has all predictions
    collection.update(probs, labels)
    confusion = multiclass_confusion_matrix(probs, labels, classes, validate_args=False)
    metrics = {name: float(value) for name, value in collection.compute().items()}
    if temperature is not None:
        calibrated = (logits / temperature).softmax(1)
        ece = multiclass_calibration_error(calibrated, labels, classes, CALIBRATION_BINS, validate_args=False)
        metrics |= {"ece": float(ece), "ece_uncalibrated": metrics["ece"], "temperature": temperature}
    counts, right = confusion.sum(1).tolist(), confusion.diag().tolist()
    return {
        "images": len(labels),
        **metrics,
        **more,
        "acc_ci95": list(wilson_interval(sum(right), len(labels))),
        "loss": float(nn.functional.cross_entropy(logits, labels)),
        "per_class": {
            name: {"acc": r / n if n else None, "images": n}
            for name, r, n in zip(info.class_names, right, counts, strict=True)
        },
        "confusion": confusion.tolist(),
    }


def metrics_table(metrics: dict[str, Any]) -> str:
    """The result of `compute_metrics` as lines for a terminal; rates in per cent."""
    added = {name: value for name, value in metrics.items() if isinstance(value, float) and name not in RESERVED}
    extra = [(name, f"{value:6.4f}") for name, value in added.items()]
    if "mae" in metrics:
        unit = metrics["target"].rpartition("_")[2]
        errors = (("mean error", f"{metrics['mae']:6.2f} {unit}"), ("RMSE", f"{metrics['rmse']:6.2f} {unit}"))
        rows = [*errors, ("R²", f"{metrics['r2']:6.4f}"), *extra, ("images", f"{metrics['images']:6,}")]
        return text_table(rows, gap="   ")
    low, high = metrics["acc_ci95"]
    ece_note = "expected error of the probabilities"
    if "temperature" in metrics:
        ece_note += f", at temperature {metrics['temperature']:.2f}; {100 * metrics['ece_uncalibrated']:.2f} without"
    present = sum(row["images"] > 0 for row in metrics["per_class"].values())
    mean = (
        "mean over classes" if present == len(metrics["per_class"]) else f"mean over the {present} classes with images"
    )
    notes = {
        "acc": ("accuracy", f"95 % interval {100 * low:.2f} to {100 * high:.2f}"),
        "precision": ("precision", mean),
        "recall": ("recall", mean),
        "f1": ("F1", mean),
        "top2": ("top 2", "the class is among the two likeliest"),
        "ece": ("calibration", ece_note),
    }
    lines = [
        f"{name:<12} {100 * metrics[key]:6.2f} %   ({note})" for key, (name, note) in notes.items() if key in metrics
    ]
    lines += [f"{name:<12} {value}" for name, value in extra]
    lines += [f"loss         {metrics['loss']:6.4f}     (cross-entropy)", f"images       {metrics['images']:6,}"]
    return "\n".join([*lines, *_class_lines(metrics)])


def _class_lines(metrics: dict[str, Any]) -> list[str]:
    """The accuracy of each class; of many classes the lowest, and the pairs that are confused most."""
    by_class = metrics["per_class"]
    names, head = list(by_class), ["", "per class"]
    if many := len(names) > MANY_CLASSES:
        tested = [name for name in names if by_class[name]["images"]]
        names = sorted(tested, key=lambda name: (by_class[name]["acc"], -by_class[name]["images"]))[:WORST]
        head = ["", f"the {len(names)} of {len(by_class)} classes with the lowest accuracy (results.json has all)"]
    rows = []
    for name in names:
        row = by_class[name]
        share = f"{100 * row['acc']:6.2f} %" if row["acc"] is not None else "     –  "
        rows.append((printable(name, 60).ljust(12), share, f"  of {row['images']:,}"))
    lines = [*head, text_table(rows, gap=" ", indent="  ")]
    pairs = confused_pairs(metrics["confusion"]) if many else []
    if pairs:
        wrong = sum(map(sum, metrics["confusion"])) - sum(row[i] for i, row in enumerate(metrics["confusion"]))
        shown = sum(pair.mistaken for pair in pairs)
        lines += ["", f"the most frequent confusions, true -> predicted: {shown:,} of {wrong:,} mistakes"]
        classes = [printable(name, 30) for name in by_class]
        rows = [(classes[p.true], f"-> {classes[p.predicted]}", f"{p.mistaken:,} of {p.images:,}") for p in pairs]
        lines.append(text_table(rows, indent="  "))
    return lines


class ConfusedPair(NamedTuple):
    """How many of a class' images are taken for another class."""

    true: int
    predicted: int
    mistaken: int
    images: int  # of the true class


def confused_pairs(confusion: Sequence[Sequence[int]], most: int = WORST) -> list[ConfusedPair]:
    """The `most` frequent pairs of a confusion matrix, rows of true classes; of equal counts the larger share first."""
    counts = np.array(confusion)
    images = counts.sum(1)
    np.fill_diagonal(counts, 0)
    rows, columns = counts.nonzero()
    found = counts[rows, columns]
    order = np.lexsort((-found / images[rows], -found))[:most]
    return [ConfusedPair(int(rows[i]), int(columns[i]), int(found[i]), int(images[rows[i]])) for i in order]


def latency_ms(net: Predictor) -> float:
    """Median milliseconds for one image, over 200 calls on one CPU thread."""
    net, threads = net.to("cpu").eval(), torch.get_num_threads()
    image = torch.zeros(1, *net.info.shape, dtype=torch.uint8)
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            seconds = timeit.repeat(lambda: net(image), number=1, repeat=WARM_UP + 200)
    finally:
        torch.set_num_threads(threads)
    return 1000 * statistics.median(seconds[WARM_UP:])
