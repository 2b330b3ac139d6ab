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
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from src.errors import choice, require, require_packages
from src.model_files.metadata import read_metadata
from src.model_files.onnx import serialize_onnx
from src.model_files.tracing import INPUT

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}  # as ONNX Runtime calls them
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
    min_channels = {"linear": math.inf, "deep": MIN_CHANNELS, "all": 0}[layers]
    names = [node.name for node, shape in _weighted_nodes(model) if len(shape) == 2 or shape[1] >= min_channels]
    starts = range(0, len(images), CALIBRATION_BATCH)
    batches = ({INPUT: np.ascontiguousarray(images[start : start + CALIBRATION_BATCH])} for start in starts)
    disabled = logging.root.manager.disable
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        logging.disable(logging.WARNING)  # advice about steps that export has taken
        try:
            quantize_static(
                model,
                Path(folder) / "int8.onnx",
                SimpleNamespace(get_next=lambda: next(batches, None)),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod[METHODS[method]],
                op_types_to_quantize=["Gemm", "MatMul", "Conv"],
                nodes_to_quantize=names,
            )
        finally:
            logging.disable(disabled)
        quantized = onnx.load(Path(folder) / "int8.onnx")
    note = {"layers": layers, "method": method, "images": len(images)}
    return serialize_onnx(quantized, replace(metadata, notes={**metadata.notes, "int8": note}))


def _default_layers(model: "ModelProto") -> str:
    """linear if most weights are in fully connected layers, else deep."""
    shapes = [shape for _, shape in _weighted_nodes(model)]
    linear = sum(math.prod(shape) for shape in shapes if len(shape) == 2)
    return "linear" if 2 * linear > sum(map(math.prod, shapes)) else "deep"


def _weighted_nodes(model: "ModelProto") -> list[tuple["NodeProto", tuple[int, ...]]]:
    """Convolutions and fully connected layers, and the shapes of their weights; not products without (deslanting)."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    pairs = [(node, shapes.get(node.input[1], ())) for node in nodes]
    return [(node, shape) for node, shape in pairs if len(shape) >= 2]
