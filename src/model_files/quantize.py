"""An exported network in whole numbers of 8 bits: a third of the file, and on some networks a little faster.

Static quantisation after training (Jacob et al. 2018, arXiv:1712.05877): each weight is a whole number times a scale of
its output channel, each layer's inputs are one times a scale that some training images gave.
"""

import io
import logging
import math
import tempfile
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np

from src.errors import require, require_packages
from src.model_files.metadata import read_metadata
from src.model_files.onnx import serialize_onnx
from src.model_files.tracing import INPUT

METHODS = ("minmax", "entropy", "percentile")
LAYERS = ("linear", "deep", "all")
AT_ONCE = 100  # calibration images
# A convolution of one channel has too few products for one of ONNX Runtime's whole-number kernels: 22 ms for 256 images
# and LeNet-5's first layer, against 1.4 ms in float32.
FEW_CHANNELS = 4


def quantize(content: bytes, images: np.ndarray, method: str = "minmax", layers: str | None = None) -> bytes:
    """The ONNX file of `onnx_bytes` with layers in 8 bits; input, outputs and card stay, and a note of it is added.

    images: uint8 (N, C, H, W), training images that ranges are taken from. method: the whole range of values, the one
    that keeps most information (entropy), or without the outermost 0.001 % (percentile). layers: linear (fully
    connected), deep (also convolutions of four channels and more), all; None takes linear where these hold most of the
    weights, and deep elsewhere. Raises InputError for other words, or without images.
    """
    require_packages("export", "onnx", "onnxruntime")
    require(method in METHODS, f"method={method}: one of {', '.join(METHODS)}")
    require(layers is None or layers in LAYERS, f"layers={layers}: one of {', '.join(LAYERS)}, or null")
    require(len(images) > 0, "8 bits need training images to take ranges from: give at least one")
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = onnx.ModelProto.FromString(content)
    card = read_metadata({entry.key: entry.value for entry in model.metadata_props}, "the file")
    layers = layers or _where_the_weights_are(model)
    ranges = CalibrationMethod.MinMax, CalibrationMethod.Entropy, CalibrationMethod.Percentile
    before = logging.root.manager.disable
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        logging.disable(logging.WARNING)  # advice on steps that export has done
        try:
            quantize_static(
                model,
                Path(folder) / "int8.onnx",
                _Images(images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=ranges[METHODS.index(method)],
                op_types_to_quantize=["Gemm", "MatMul", "Conv"],
                nodes_to_quantize=_chosen(model, layers),
            )
        finally:
            logging.disable(before)
        made = onnx.load(Path(folder) / "int8.onnx")
    note = {"layers": layers, "method": method, "images": len(images)}
    return serialize_onnx(made, replace(card, notes={**card.notes, "int8": note}))


def _chosen(model, layers: str) -> list[str]:
    """The names of the nodes that `layers` means; moments of ink and the like are no layers."""
    names = []
    for node, shape in _weights(model):
        wide = len(shape) == 2 or layers == "all" or (layers == "deep" and shape[1] >= FEW_CHANNELS)
        names += [node.name] if wide else []
    return names


def _where_the_weights_are(model) -> str:
    """linear, if most weights are in fully connected layers; else deep."""
    counts = {True: 0, False: 0}
    for _, shape in _weights(model):
        counts[len(shape) == 2] += math.prod(shape)
    return "linear" if counts[True] > counts[False] else "deep"


def _weights(model) -> list[tuple]:
    """Convolutions and fully connected layers, as nodes, and the shapes of their weights."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    pairs = [(node, shapes.get(node.input[1], ())) for node in layers]
    return [(node, shape) for node, shape in pairs if len(shape) >= 2]


class _Images:
    """What onnxruntime.quantization asks of a CalibrationDataReader."""

    def __init__(self, images: np.ndarray):
        self.parts = iter([images[start : start + AT_ONCE] for start in range(0, len(images), AT_ONCE)])

    def get_next(self) -> dict | None:
        part = next(self.parts, None)
        return None if part is None else {INPUT: np.ascontiguousarray(part)}

    def set_range(self, start_index: int, end_index: int) -> None:
        raise NotImplementedError("only for calibration by strides")
