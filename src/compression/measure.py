"""What a network is worth and what it takes: accuracy, weights, arithmetic, bytes."""

import zlib

from torch import Tensor, nn

from src.checkpoint import checkpoint_bytes
from src.data.views import COUNTS
from src.evaluation import wilson
from src.insight.summary import summarise


def plain_file(net: nn.Module) -> bytes:
    """A network as a checkpoint of its weights alone, without what only training needs."""
    checkpoint = {
        "state_dict": {f"model.{name}": value for name, value in net.model.state_dict().items()},
        "config": net.config,
        "facts": net.facts.plain(),
        "epoch": net.epoch - 1,
    }
    if net.temperature is not None:
        checkpoint["temperature"] = net.temperature
    return checkpoint_bytes(checkpoint)


def weights(net: nn.Module) -> dict[str, int]:
    """Parameters, how many of them are not 0, and multiply-adds for one image, all views of it."""
    parameters = list(net.model.parameters())
    views = net.views if net.views in COUNTS else 1
    return {
        "parameters": sum(p.numel() for p in parameters),
        "nonzero": sum(int(p.count_nonzero()) for p in parameters),
        "multiply_adds": views * summarise(net.model, net.facts.shape).multiply_adds,
    }


def sizes(file: bytes, onnx: bytes | None) -> dict[str, int | None]:
    """Bytes of the file, of it packed as gzip packs, and of the network as an ONNX file."""
    return {"bytes": len(file), "packed_bytes": len(zlib.compress(file, 9)), "onnx_bytes": onnx and len(onnx)}


def accuracy(answers: Tensor, labels: Tensor) -> dict:
    """Share of right answers (N,) and its 95 % interval."""
    right, count = int((answers == labels).sum()), len(labels)
    return {"acc": right / count, "acc_ci95": list(wilson(right, count)), "errors": count - right, "images": count}


def paired(before: Tensor, after: Tensor, labels: Tensor) -> dict:
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
