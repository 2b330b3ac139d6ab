"""What a network costs and gains: accuracy, a test of the difference, parameters, arithmetic, bytes."""

import zlib

from torch import Tensor

from src.evaluation.evaluate import wilson_interval
from src.inference.model import InferenceModel
from src.inference.tta import VIEW_COUNTS
from src.insight.summary import summarize
from src.model_files.checkpoint import checkpoint_bytes


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


def slim_checkpoint_bytes(net: InferenceModel) -> bytes:
    """A checkpoint of a network's weights, without what only training needs."""
    checkpoint = {
        "state_dict": {f"model.{name}": value for name, value in net.model.state_dict().items()},
        "config": net.config,
        "facts": net.info.to_dict(),
        "epoch": net.epoch - 1,
    }
    if net.seen is not None:
        checkpoint["seen"] = net.seen
    if net.temperature is not None:
        checkpoint["temperature"] = net.temperature
    return checkpoint_bytes(checkpoint)


def count_weights_and_operations(net: InferenceModel) -> dict[str, int]:
    """Parameters, how many of them are not 0, and multiply-adds for one image in all its views."""
    parameters = list(net.model.parameters())
    views = net.views if net.views in VIEW_COUNTS else 1
    return {
        "parameters": sum(p.numel() for p in parameters),
        "nonzero": sum(int(p.count_nonzero()) for p in parameters),
        "multiply_adds": views * summarize(net.model, net.info.shape).multiply_adds,
    }


def file_sizes(content: bytes, onnx: bytes | None) -> dict[str, int | None]:
    """Bytes of a file, of the same compressed by zlib, and of the network as an ONNX file."""
    return {"bytes": len(content), "packed_bytes": len(zlib.compress(content, 9)), "onnx_bytes": onnx and len(onnx)}
