"""An exported network with 8-bit integer arithmetic: a third of the file, and some networks are a little faster.

Static post-training quantization (Jacob et al. 2018, arXiv:1712.05877): each weight is an integer times the scale of
its output channel, each layer's inputs are integers times a scale taken from some training images.
"""

import io
import logging
import math
import tempfile
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from src.errors import choice, require, require_packages
from src.model_files.metadata import read_metadata
from src.model_files.onnx import serialize_onnx
from src.model_files.tracing import INPUT

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

METHODS = ("minmax", "entropy", "percentile")
LAYERS = ("linear", "deep", "all")
CALIBRATION_BATCH = 100
# A convolution of one channel has too few products for ONNX Runtime's integer kernels: 22 ms for 256 images and
# LeNet-5's first layer, against 1.4 ms in float32.
MIN_CHANNELS = 4


def quantize(content: bytes, images: np.ndarray, method: str = "minmax", layers: str | None = None) -> bytes:
    """The ONNX file of `onnx_bytes` with layers in 8 bits; inputs, outputs and metadata stay, and a note is added.

    images: uint8 (N, C, H, W), training images that give the ranges of activations. method: the whole range (minmax),
    the one that keeps most information (entropy), or without the outermost 0.001 % (percentile). layers: fully
    connected ones (linear), also convolutions of four channels and more (deep), or all; None takes linear if these
    hold most of the weights, else deep. Raises InputError for other words, or without images.
    """
    require_packages("export", "onnx", "onnxruntime")
    choice("method", method, METHODS)
    choice("layers", layers, LAYERS, optional=True)
    require(len(images) > 0, "quantization needs training images that give the ranges of activations: at least one")
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = onnx.ModelProto.FromString(content)
    metadata = read_metadata({entry.key: entry.value for entry in model.metadata_props}, "the file")
    layers = layers or _default_layers(model)
    calibration = CalibrationMethod.MinMax, CalibrationMethod.Entropy, CalibrationMethod.Percentile
    disabled = logging.root.manager.disable
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        logging.disable(logging.WARNING)  # advice about steps that export has taken
        try:
            quantize_static(
                model,
                Path(folder) / "int8.onnx",
                _CalibrationReader(images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=calibration[METHODS.index(method)],
                op_types_to_quantize=["Gemm", "MatMul", "Conv"],
                nodes_to_quantize=_node_names(model, layers),
            )
        finally:
            logging.disable(disabled)
        quantized = onnx.load(Path(folder) / "int8.onnx")
    note = {"layers": layers, "method": method, "images": len(images)}
    return serialize_onnx(quantized, replace(metadata, notes={**metadata.notes, "int8": note}))


def _node_names(model: "ModelProto", layers: str) -> list[str]:
    """The names of the nodes that `layers` means; products without weights (deslanting) are no layers."""
    names = []
    for node, shape in _weighted_nodes(model):
        if len(shape) == 2 or layers == "all" or (layers == "deep" and shape[1] >= MIN_CHANNELS):
            names.append(node.name)
    return names


def _default_layers(model: "ModelProto") -> str:
    """linear if most weights are in fully connected layers, else deep."""
    sizes = [(len(shape) == 2, math.prod(shape)) for _, shape in _weighted_nodes(model)]
    linear = sum(size for is_linear, size in sizes if is_linear)
    return "linear" if 2 * linear > sum(size for _, size in sizes) else "deep"


def _weighted_nodes(model: "ModelProto") -> list[tuple["NodeProto", tuple[int, ...]]]:
    """Convolutions and fully connected layers, and the shapes of their weights."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    pairs = [(node, shapes.get(node.input[1], ())) for node in nodes]
    return [(node, shape) for node, shape in pairs if len(shape) >= 2]


class _CalibrationReader:
    """Batches of images, with the methods of onnxruntime.quantization.CalibrationDataReader."""

    def __init__(self, images: np.ndarray):
        starts = range(0, len(images), CALIBRATION_BATCH)
        self.batches = (images[start : start + CALIBRATION_BATCH] for start in starts)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: np.ascontiguousarray(batch)}

    def set_range(self, start_index: int, end_index: int) -> None:
        raise NotImplementedError("only for calibration by strides")
