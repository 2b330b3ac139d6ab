"""What a network weighs: parameters, arithmetic, bytes."""

import zlib

from torch import nn

from src.inference.tta import VIEW_COUNTS
from src.insight.summary import summarize
from src.model_files.checkpoint import checkpoint_bytes


def slim_checkpoint_bytes(net: nn.Module) -> bytes:
    """A network as a checkpoint of its weights alone, without what only training needs."""
    checkpoint = {
        "state_dict": {f"model.{name}": value for name, value in net.model.state_dict().items()},
        "config": net.config,
        "facts": net.info.to_dict(),
        "epoch": net.epoch - 1,
    }
    if net.temperature is not None:
        checkpoint["temperature"] = net.temperature
    return checkpoint_bytes(checkpoint)


def weights(net: nn.Module) -> dict[str, int]:
    """Parameters, how many of them are not 0, and multiply-adds for one image, all views of it."""
    parameters = list(net.model.parameters())
    views = net.views if net.views in VIEW_COUNTS else 1
    return {
        "parameters": sum(p.numel() for p in parameters),
        "nonzero": sum(int(p.count_nonzero()) for p in parameters),
        "multiply_adds": views * summarize(net.model, net.info.shape).multiply_adds,
    }


def sizes(file: bytes, onnx: bytes | None) -> dict[str, int | None]:
    """Bytes of the file, of it packed as gzip packs, and of the network as an ONNX file."""
    return {"bytes": len(file), "packed_bytes": len(zlib.compress(file, 9)), "onnx_bytes": onnx and len(onnx)}
