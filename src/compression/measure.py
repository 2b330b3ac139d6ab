"""Accuracy of classes that are predicted, and whether two networks' mistakes differ by more than chance."""

from torch import Tensor

from src.evaluation.evaluate import wilson_interval


def measure_accuracy(predictions: Tensor, labels: Tensor) -> dict:
    """Accuracy of predicted classes (N,) with its 95 % interval."""
    right, count = int((predictions == labels).sum()), len(labels)
    interval = list(wilson_interval(right, count))
    return {"acc": right / count, "acc_ci95": interval, "errors": count - right, "images": count}


def mcnemar_test(before: Tensor, after: Tensor, labels: Tensor) -> dict:
    """On the same images: errors that are new and gone, and the probability that chance alone makes them this uneven
    (exact McNemar test)."""
    from scipy.stats import binomtest

    right_before, right_after = before == labels, after == labels
    new, gone = int((right_before & ~right_after).sum()), int((~right_before & right_after).sum())
    p = float(binomtest(new, new + gone).pvalue) if new + gone else 1.0
    return {"new_errors": new, "gone_errors": gone, "p": p}
