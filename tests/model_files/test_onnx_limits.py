"""ONNX graphs that would take much memory or time are refused by their shapes, before ONNX Runtime sees them."""

import resource

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the export extra is not installed")
pytest.importorskip("onnxscript", reason="the export extra is not installed")

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from src.data.info import DataInfo
from src.model_files import onnx_limits
from src.model_files.metadata import read_metadata
from src.model_files.onnx import onnx_bytes, parse_onnx, serialize_onnx
from tests.model_files.networks import DIGITS, make_net, refusal_of

MORE_MEMORY = 256 << 10  # KiB that refusing a file may take


def before(model, *nodes, **constants):
    """Put nodes and int64 constants in front of a graph."""
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


def used(model, name):
    """Make a graph's first output hang on a tensor of any size."""
    output = model.graph.output[0].name
    for node in model.graph.node:
        for index, each in enumerate(node.output):
            if each == output:
                node.output[index] = "own_output"
    model.graph.node.extend(
        [
            helper.make_node("ReduceMax", [name], ["most"], keepdims=0),
            helper.make_node("Mul", ["own_output", "most"], [output]),
        ]
    )


def large_constant(model):
    before(model, helper.make_node("ConstantOfShape", ["sides"], ["zeros"]), sides=[40_000, 40_000])
    used(model, "zeros")


def many_products(model, side=2_000):
    nodes = [helper.make_node("ConstantOfShape", ["sides"], ["x0"])]
    nodes += [helper.make_node("MatMul", [f"x{i}", f"x{i}"], [f"x{i + 1}"]) for i in range(30)]
    before(model, *nodes, sides=[side, side])
    used(model, "x30")


def large_products(model):
    many_products(model, side=4_000)


def many_convolutions(model):
    nodes = [
        helper.make_node("ConstantOfShape", ["sides"], ["x0"]),
        helper.make_node("ConstantOfShape", ["kernel"], ["w"]),
    ]
    nodes += [helper.make_node("Conv", [f"x{i}", "w"], [f"x{i + 1}"], pads=[15] * 4) for i in range(9)]
    before(model, *nodes, sides=[1, 64, 256, 256], kernel=[64, 64, 31, 31])
    used(model, "x9")


def size_from_pixels(model):
    before(
        model,
        helper.make_node("Cast", ["images"], ["levels"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["levels"], ["brightest"], keepdims=0),
        helper.make_node("Mul", ["brightest", "factor"], ["many"]),
        helper.make_node("ConstantOfShape", ["many"], ["zeros"]),
        factor=[10_000_000],
    )
    used(model, "zeros")


def places_from_pixels(model):
    nodes = [("NonZero", ["images"], ["places"], {}), ("Cast", ["places"], ["x"], {"to": TensorProto.FLOAT})]
    before(model, *[helper.make_node(*node, **options) for *node, options in nodes])
    used(model, "x")


def grows_with_square(model):
    before(
        model,
        helper.make_node("Shape", ["images"], ["count"], end=1),
        helper.make_node("Mul", ["count", "count"], ["square"]),
        helper.make_node("Mul", ["square", "factor"], ["many"]),
        helper.make_node("ConstantOfShape", ["many"], ["zeros"]),
        factor=[60_000_000],
    )
    used(model, "zeros")


def contradictory(model):
    before(model, helper.make_node("MatMul", ["a", "b"], ["c"]), a=[[1, 2, 3]], b=[[1, 2, 3]])


def many_nodes(model):
    before(model, *[helper.make_node("Identity", ["images"], [f"same{i}"]) for i in range(20_001)])


REFUSED = {
    large_constant: "MiB of memory for an image",
    many_products: "thousand million products for an image",
    large_products: "MiB of memory for an image",
    many_convolutions: "thousand million products for an image",
    size_from_pixels: "cannot be told from the size of the images",
    places_from_pixels: "cannot be told from the size of the images",
    grows_with_square: "MiB of memory for an image",
    contradictory: "its shapes do not fit one another",
    many_nodes: "up to 20,000 are read",
}


@pytest.mark.parametrize("trick", REFUSED, ids=lambda trick: trick.__name__)
def test_a_graph_that_takes_much_is_refused_before_it_runs(net, files, tmp_path, trick):
    model = onnx.load(files[".onnx"])
    metadata = read_metadata({entry.key: entry.value for entry in model.metadata_props}, "")
    trick(model)
    path = tmp_path / "large.onnx"
    path.write_bytes(serialize_onnx(model, metadata))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert REFUSED[trick] in refusal_of(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < MORE_MEMORY


def test_images_that_take_much_are_refused(tmp_path):
    wide = DataInfo((1, 4096, 4096), tuple("0123456789"), (0.13,), (0.31,))
    path = tmp_path / "wide.onnx"
    path.write_bytes(onnx_bytes(make_net("resnet", wide)))
    assert "MiB of memory for an image, over the limit of 512" in refusal_of(path)


@pytest.mark.parametrize("views", [1, 5])
@pytest.mark.parametrize("option", ["lenet", "cnn", "convnet", "mlp", "resnet"])
def test_networks_of_colour_pictures_are_within_the_limits(option, views):
    colour = DataInfo((3, 224, 224), ("a", "b"), (0.4,) * 3, (0.2,) * 3)
    model = onnx.ModelProto.FromString(onnx_bytes(make_net(option, colour, views)))
    assert onnx_limits.excess(model) == ""


@pytest.mark.parametrize("option", ["lenet", "resnet"])
def test_products_are_those_that_torch_counts(option, monkeypatch):
    net, counted = make_net(option), []
    model = onnx.ModelProto.FromString(onnx_bytes(net))
    counts = {"Conv": 0, "Gemm": 0, "MatMul": 0}
    products = onnx_limits._products

    def count(node, shapes):
        counted.append(products(node, shapes))
        counts[node.op_type] = counts.get(node.op_type, 0) + counted[-1]
        return counted[-1]

    monkeypatch.setattr(onnx_limits, "_products", count)
    monkeypatch.setattr(onnx_limits, "BATCHES", (4,))
    assert onnx_limits.excess(model) == ""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(4, *DIGITS.shape, dtype=torch.uint8))
    assert counts["Conv"] + counts["Gemm"] + counts["MatMul"] == counter.get_total_flops() // 2


def test_a_file_within_the_limits_runs(files, net):
    images = torch.randint(0, 256, (5, *DIGITS.shape), dtype=torch.uint8)
    with torch.inference_mode():
        expected = net.probs(images)
    torch.testing.assert_close(parse_onnx(files[".onnx"].read_bytes(), "it", 1).probs(images), expected)
