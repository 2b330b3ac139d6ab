"""How much memory and arithmetic an ONNX graph takes, found from the shapes in it, before anything is computed."""

import math
from typing import TYPE_CHECKING

from src.errors import printable

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

MAX_NODES = 20_000
MAX_BYTES = 512 << 20  # alive at once, per image, beside the weights
MAX_PRODUCTS = 100_000_000_000  # per image: nine times a ResNet-152 at 224x224
BATCHES = (1, 2, 3, 16)  # that are tried: a size may grow with their number only in proportion
SMALL_TENSOR = 1024  # values; shapes and axes are smaller, and only they decide the shapes of other tensors

CONVOLUTIONS = ("Conv", "ConvInteger", "QLinearConv", "ConvTranspose")
MATRIX_PRODUCTS = ("MatMul", "MatMulInteger", "QLinearMatMul", "Gemm")
MORE_THAN_LINEAR = ("Attention", "DFT", "Det", "Einsum", "GRU", "LSTM", "RNN", "STFT", "TopK")


def excess(model: "ModelProto") -> str:
    """Why a graph whose first input is (B, C, H, W) must not run, by the limits above; empty if it may."""
    if len(model.graph.node) > MAX_NODES:
        return f"it has {len(model.graph.node):,} nodes; up to {MAX_NODES:,} are read"
    graph = _without_weights(model)
    for batch in BATCHES:
        problem = _excess_of_batch(graph, batch)
        if problem:
            return problem
    return ""


def _without_weights(model: "ModelProto") -> "ModelProto":
    """The graph with its larger weights as inputs, which have a shape and no values."""
    import onnx

    graph = onnx.GraphProto(name="shapes")
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= SMALL_TENSOR:
            graph.initializer.add().CopyFrom(tensor)
        else:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    for output in model.graph.output:
        graph.output.add(name=output.name).type.tensor_type.elem_type = output.type.tensor_type.elem_type
    return onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, graph=graph)


def _excess_of_batch(model: "ModelProto", batch: int) -> str:
    import onnx

    graph = model.graph
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True).graph
    except Exception as error:  # onnx raises kinds of its own for graphs that contradict themselves
        return f"its shapes do not fit one another ({printable(error, 200)})"
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    sizes = {}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        tensor = value.type.tensor_type
        sides = [side.dim_value if side.HasField("dim_value") else -1 for side in tensor.shape.dim]
        if tensor.HasField("shape") and min(sides, default=0) >= 0:
            shapes[value.name] = tuple(sides)
            sizes[value.name] = math.prod(sides) * onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
    unknown = [name for node in graph.node for name in node.output if name and name not in sizes]
    if unknown:
        return f"the size of {printable(unknown[0], 80)} in it cannot be told from the size of the images"
    most = _peak_bytes(graph.node, graph.input[0].name, sizes) / batch
    if most > MAX_BYTES:
        return f"it takes {most / (1 << 20):,.0f} MiB of memory for an image, over the limit of {MAX_BYTES >> 20}"
    products = sum(_products(node, shapes) for node in graph.node) / batch
    if products > MAX_PRODUCTS:
        return f"it takes {products / 1e9:,.0f} thousand million products for an image, over {MAX_PRODUCTS / 1e9:.0f}"
    return ""


def _peak_bytes(nodes: "list[NodeProto]", source: str, sizes: dict[str, int]) -> int:
    """The most bytes alive at once if a tensor goes after its last use; what no image changes is kept."""
    last = {name: index for index, node in enumerate(nodes) for name in node.input}
    live, alive, peak = {source}, sizes[source], 0
    for index, node in enumerate(nodes):
        varies = any(name in live for name in node.input)
        alive += sum(sizes[name] for name in node.output if name)
        peak = max(peak, alive)
        if varies:
            live |= set(node.output)
        gone = {name for name in (*node.input, *node.output) if name in live and last.get(name, -1) <= index}
        alive -= sum(sizes[name] for name in gone if name)
        live -= gone
    return peak


def _products(node: "NodeProto", shapes: dict[str, tuple[int, ...]]) -> int:
    """The multiplications of a node, at most; of one that only moves or compares values, their number."""
    inputs = [shapes.get(name, ()) for name in node.input]
    outputs = [shapes.get(name, ()) for name in node.output]
    attributes = {attribute.name: attribute for attribute in node.attribute}
    count = sum(map(math.prod, outputs))
    if node.op_type in CONVOLUTIONS:
        weights = max(inputs[1:], key=len)  # quantised ones have scales and zero points beside them
        forward = node.op_type != "ConvTranspose"
        return (count if forward else math.prod(inputs[0])) * math.prod(weights[1:])
    if node.op_type in MATRIX_PRODUCTS:
        transposed = "transA" in attributes and attributes["transA"].i
        return count * ((inputs[0][-2:] or (1,))[0 if transposed else -1])
    kernel = math.prod(attributes["kernel_shape"].ints) if "kernel_shape" in attributes else 1
    largest = max((side for shape in (*inputs, *outputs) for side in shape), default=1)
    factor = largest if node.op_type in MORE_THAN_LINEAR else kernel
    return (count + sum(map(math.prod, inputs))) * max(factor, 1)
