"""What a network is worth and what it takes: accuracy, weights, arithmetic, bytes."""

from torch import Tensor

from src.evaluation.evaluate import wilson_interval


def accuracy(answers: Tensor, labels: Tensor) -> dict:
    """Share of right answers (N,) and its 95 % interval."""
    right, count = int((answers == labels).sum()), len(labels)
    return {"acc": right / count, "acc_ci95": list(wilson_interval(right, count)), "errors": count - right, "images": count}


def mcnemar_test(before: Tensor, after: Tensor, labels: Tensor) -> dict:
    """On the same images: errors that are new and gone, and how likely chance alone makes them so uneven (McNemar's
    test, exact)."""
    from scipy.stats import binomtest

    was, now = before == labels, after == labels
    new, gone = int((was & ~now).sum()), int((~was & now).sum())
    return {
        "new_errors": new,
        "gone_errors": gone,
        "p": float(binomtest(new, new + gone).pvalue) if new + gone else 1.0,
    }
