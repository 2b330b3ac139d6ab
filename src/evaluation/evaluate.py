"""A trained network on a split: predictions, their measure, the table and the pictures."""

import math
import statistics
import time

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_confusion_matrix

from src.data.info import DataInfo
from src.evaluation.metrics import CALIBRATION_BINS, make_classification_metrics, make_regression_metrics

Z95 = 1.959963984540054


def predict(net: nn.Module, loader: DataLoader, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Logits float32 (N, K) and labels int64 (N,), on the CPU, of a network that takes raw grey levels."""
    net = net.to(device).eval()
    logits, labels = [], []
    with torch.inference_mode():
        for images, truth in loader:
            logits.append(net(images.to(device)).float().cpu())
            labels.append(truth.cpu())
    return torch.cat(logits), torch.cat(labels)


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927): `right` of `count` > 0."""
    share, spread = right / count, Z95 * Z95 / count
    centre = share + spread / 2
    half = Z95 * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, (centre - half) / (1 + spread)), min(1.0, (centre + half) / (1 + spread))


def compute_metrics(logits: Tensor, labels: Tensor, info: DataInfo, temperature: float | None = None) -> dict:
    """Every figure of an evaluation, as plain values.

    logits: (N, K); labels: (N,), N > 0. acc_ci95 is Wilson's interval; per_class gives each class' share of right
    answers (its recall) and its number of images; confusion has a row per true class. With a temperature, ece is of the
    probabilities that it gives, and ece_uncalibrated of those without it; the rest knows nothing of it.
    """
    if info.target:
        return compute_regression_metrics(logits, labels, info)
    class_names, classes = info.class_names, info.num_classes
    probs = logits.softmax(1)
    metrics = make_classification_metrics(classes, sync_on_compute=False)  # everything is here, on every process
    metrics.update(probs, labels)
    confusion = multiclass_confusion_matrix(probs, labels, classes, validate_args=False)
    figures = {name: float(value) for name, value in metrics.compute().items()}
    if temperature is not None:
        error = multiclass_calibration_error(
            (logits / temperature).softmax(1), labels, classes, CALIBRATION_BINS, validate_args=False
        )
        figures |= {"ece": float(error), "ece_uncalibrated": figures["ece"], "temperature": temperature}
    counts, right = confusion.sum(1).tolist(), confusion.diag().tolist()
    return {
        "images": len(labels),
        **figures,
        "acc_ci95": list(wilson_interval(sum(right), len(labels))),
        "loss": float(nn.functional.cross_entropy(logits, labels)),
        "per_class": {
            name: {"acc": r / n if n else None, "images": n}
            for name, r, n in zip(class_names, right, counts, strict=True)
        },
        "confusion": confusion.tolist(),
    }


def compute_regression_metrics(outputs: Tensor, labels: Tensor, info: DataInfo) -> dict:
    """Every figure of estimated numbers, in their unit: outputs (N, 1), labels (N,), both over `info.scale`."""
    metrics = make_regression_metrics(sync_on_compute=False)
    metrics.update(outputs[:, 0] * info.scale, labels * info.scale)
    values = {name: float(value) for name, value in metrics.compute().items()}
    return {"images": len(labels), "target": info.target, **values}


def metrics_table(results: dict) -> str:
    """The figures of `measure` as lines for a terminal; rates in per cent."""
    if "mae" in results:
        unit = results["target"].rpartition("_")[2]
        lines = [f"{text:<12} {results[key]:6.2f} {unit}" for key, text in (("mae", "mean error"), ("rmse", "RMSE"))]
        return "\n".join([*lines, f"R²           {results['r2']:6.4f}", f"images       {results['images']:6,}"])
    low, high = results["acc_ci95"]
    lines = [f"accuracy     {100 * results['acc']:6.2f} %   (95 % interval {100 * low:.2f} to {100 * high:.2f})"]
    names = {"precision": "precision", "recall": "recall", "f1": "F1", "top2": "top 2", "ece": "calibration"}
    notes = {"precision": "mean over classes", "recall": "mean over classes", "f1": "mean over classes"}
    notes |= {"top2": "the class is among the two likeliest", "ece": "expected error of the probabilities"}
    if "temperature" in results:
        notes["ece"] += (
            f", at temperature {results['temperature']:.2f}; {100 * results['ece_uncalibrated']:.2f} without"
        )
    lines += [
        f"{text:<12} {100 * results[key]:6.2f} %   ({notes[key]})" for key, text in names.items() if key in results
    ]
    lines += [f"loss         {results['loss']:6.4f}     (cross-entropy)", f"images       {results['images']:6,}", ""]
    rows = []
    width = max(12, *map(len, results["per_class"]))
    for name, row in results["per_class"].items():
        share = "     –  " if row["acc"] is None else f"{100 * row['acc']:6.2f} %"
        rows.append(f"  {name:<{width}} {share}   of {row['images']:,}")
    return "\n".join([*lines, "per class", *rows])


def latency_ms(net: nn.Module, runs: int = 200) -> float:
    """Median time for one image on the CPU, one thread, in milliseconds."""
    net, threads = net.to("cpu").eval(), torch.get_num_threads()
    image, times = torch.zeros(1, *net.info.shape, dtype=torch.uint8), []
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for _ in range(runs + 20):
                begun = time.perf_counter()
                net(image)
                times.append(time.perf_counter() - begun)
    finally:
        torch.set_num_threads(threads)
    return 1000 * statistics.median(times[20:])
