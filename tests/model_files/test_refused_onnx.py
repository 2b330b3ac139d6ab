"""ONNX files that ask for more than a plain network are refused before ONNX Runtime sees them."""

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the export extra is not installed")
pytest.importorskip("onnxscript", reason="the export extra is not installed")
pytest.importorskip("safetensors", reason="the export extra is not installed")

import onnx

from src.model_files.metadata import read_metadata
from src.model_files.onnx import serialize_onnx
from tests.model_files.networks import refusal_of


def with_external_data(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def with_hidden_external_data(model):
    constant = onnx.helper.make_tensor("hidden", onnx.TensorProto.FLOAT, [1], [0.0])
    constant.data_location = onnx.TensorProto.EXTERNAL
    node = model.graph.node.add(op_type="Constant", output=["hidden"])
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(constant)


def with_function(model):
    opset = [onnx.helper.make_opsetid("", 18)]
    body = [onnx.helper.make_node("Relu", ["x"], ["y"])]
    model.functions.append(onnx.helper.make_function("mine", "Trick", ["x"], ["y"], body, opset))


def with_domain(model):
    model.opset_import.add(domain="com.microsoft", version=1)


def with_strange_node(model):
    model.graph.node[0].domain = "com.microsoft"


def with_control_flow(model):
    then = onnx.helper.make_graph([], "then", [], [])
    node = model.graph.node.add(op_type="If", input=["images"], output=["never"])
    node.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH).g.CopyFrom(then)


def with_float_input(model):
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def with_fixed_batch(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def with_other_size(model):
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 29


def with_second_input(model):
    model.graph.input.add().CopyFrom(model.graph.input[0])


def with_one_output(model):
    del model.graph.output[1]


def with_unknown_operator(model):
    model.graph.node[0].op_type = "DoesNotExist"


def with_nan(model):
    bias = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("head.4.bias"))
    bias.raw_data = np.full(10, np.nan, np.float32).tobytes()


def with_another_shape(model):
    weight = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("head.4.bias"))
    weight.dims[0], weight.raw_data = 9, weight.raw_data[:36]


TRICKS = [value for name, value in sorted(globals().items()) if name.startswith("with_")]


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick.__name__)
def test_an_onnx_file_that_asks_for_more_is_refused(net, files, tmp_path, trick, capfd):
    model = onnx.load(files[".onnx"])
    metadata = read_metadata({entry.key: entry.value for entry in model.metadata_props}, "")
    trick(model)
    path = tmp_path / "trick.onnx"
    path.write_bytes(serialize_onnx(model, metadata))
    refusal_of(path)
    assert capfd.readouterr().err == ""
