"""A trained network on a split: its predictions, their metrics, and a table of them."""

import math
import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

from src.data.info import DataInfo
from src.evaluation.metrics import CALIBRATION_BINS, make_classification_metrics, make_regression_metrics
from src.inference.predictor import Predictor
from src.plotting import text_table

Z95 = 1.959963984540054  # quantile of the normal distribution for a 95 % interval
WARM_UP = 20


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


def compute_metrics(logits: Tensor, labels: Tensor, info: DataInfo, temperature: float | None = None) -> dict[str, Any]:
    """Every metric of an evaluation, as plain values.

    logits: (N, K); labels: (N,), N > 0. acc_ci95 is Wilson's interval; per_class has each class' accuracy (its recall)
    and number of images; confusion has a row per true class. With a temperature, ece is of the calibrated
    probabilities and ece_uncalibrated of the others; no other metric depends on it.
    """
    if info.output.is_number:
        return compute_regression_metrics(logits, labels, info)
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
        "acc_ci95": list(wilson_interval(sum(right), len(labels))),
        "loss": float(nn.functional.cross_entropy(logits, labels)),
        "per_class": {
            name: {"acc": r / n if n else None, "images": n}
            for name, r, n in zip(info.class_names, right, counts, strict=True)
        },
        "confusion": confusion.tolist(),
    }


def compute_regression_metrics(outputs: Tensor, labels: Tensor, info: DataInfo) -> dict[str, Any]:
    """Every metric of a regression target, in its unit: outputs (N, 1), labels (N,), both over `info.scale`."""
    collection = make_regression_metrics(sync_on_compute=False)
    collection.update(*info.output.metric_inputs(outputs, labels))
    metrics = {name: float(value) for name, value in collection.compute().items()}
    return {"images": len(labels), "target": info.target, **metrics}


def metrics_table(metrics: dict[str, Any]) -> str:
    """The result of `compute_metrics` as lines for a terminal; rates in per cent."""
    if "mae" in metrics:
        unit = metrics["target"].rpartition("_")[2]
        errors = (("mean error", f"{metrics['mae']:6.2f} {unit}"), ("RMSE", f"{metrics['rmse']:6.2f} {unit}"))
        return text_table([*errors, ("R²", f"{metrics['r2']:6.4f}"), ("images", f"{metrics['images']:6,}")], gap="   ")
    low, high = metrics["acc_ci95"]
    ece_note = "expected error of the probabilities"
    if "temperature" in metrics:
        ece_note += f", at temperature {metrics['temperature']:.2f}; {100 * metrics['ece_uncalibrated']:.2f} without"
    notes = {
        "acc": ("accuracy", f"95 % interval {100 * low:.2f} to {100 * high:.2f}"),
        "precision": ("precision", "mean over classes"),
        "recall": ("recall", "mean over classes"),
        "f1": ("F1", "mean over classes"),
        "top2": ("top 2", "the class is among the two likeliest"),
        "ece": ("calibration", ece_note),
    }
    rates = [
        f"{name:<12} {100 * metrics[key]:6.2f} %   ({note})" for key, (name, note) in notes.items() if key in metrics
    ]
    width = max(12, *map(len, metrics["per_class"]))
    shares = [
        (f"{100 * row['acc']:6.2f} %" if row["acc"] is not None else "     –  ", row["images"])
        for row in metrics["per_class"].values()
    ]
    return "\n".join(
        [
            *rates,
            f"loss         {metrics['loss']:6.4f}     (cross-entropy)",
            f"images       {metrics['images']:6,}",
            "",
            "per class",
            *(
                f"  {name:<{width}} {share}   of {images:,}"
                for name, (share, images) in zip(metrics["per_class"], shares, strict=True)
            ),
        ]
    )


def latency_ms(net: Predictor, calls: int = 200) -> float:
    """Median milliseconds for one image, on one CPU thread."""
    net, threads = net.to("cpu").eval(), torch.get_num_threads()
    image, seconds = torch.zeros(1, *net.info.shape, dtype=torch.uint8), []
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for _ in range(calls + WARM_UP):
                started = time.perf_counter()
                net(image)
                seconds.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return 1000 * statistics.median(seconds[WARM_UP:])
