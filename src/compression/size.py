"""The size of a network: parameters, arithmetic, bytes."""

import zlib

from src.inference.model import InferenceModel
from src.inference.tta import VIEW_COUNTS
from src.insight.summary import summarize
from src.model_files.checkpoint import checkpoint_bytes


def slim_checkpoint_bytes(net: InferenceModel) -> bytes:
    """A checkpoint of a network's weights, without what only training needs."""
    checkpoint = {
        "state_dict": {f"model.{name}": value for name, value in net.model.state_dict().items()},
        "config": net.config,
        "facts": net.info.to_dict(),
        "epoch": net.epoch - 1,
    }
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
