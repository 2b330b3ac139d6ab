"""Every network and every knob of LeNet goes into files and comes back."""

import pytest
import torch
import yaml

pytest.importorskip("onnxruntime", reason="the export extra is not installed")
pytest.importorskip("onnxscript", reason="the export extra is not installed")
pytest.importorskip("safetensors", reason="the export extra is not installed")

import onnx

from src.cli.config import CONF
from src.model_files.load import load_predictor
from src.model_files.onnx import OPSETS, onnx_bytes
from src.model_files.safetensors import safetensors_bytes
from src.model_files.torch_export import exported_graph, torch_export_bytes
from src.model_files.verify import compare_outputs
from src.models.convolution import ALGORITHMS
from src.models.layers import ACTIVATIONS, POOLINGS
from tests.model_files.networks import DIGITS, build_option, make_net, onnx_outputs, random_batch

OPTIONS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
# Every value of every knob once, not all together.
KNOBS = {
    "activation": list(ACTIVATIONS),
    "pooling": list(POOLINGS),
    "padded": [True, False],
    "batch_norm": [True, False, False],
    "dropout": [0.0, 0.4],
    "deslant": [False, False, True],
    "convolution": [name for name in ALGORITHMS if name != "loops"],  # slow, and a file says nothing of it
    "widths": [[6, 16], [3, 7]],
    "hidden": [[120, 84], [], [9]],
}
LENETS = [{knob: values[row % len(values)] for knob, values in KNOBS.items()} for row in range(len(ACTIVATIONS))]
SMALL_KNOBS = {"pretrained": {"size": 32, "weights": None}}
CASES = [(name, SMALL_KNOBS.get(name, {})) for name in OPTIONS] + [("lenet", knobs) for knobs in LENETS]


def test_every_knob_of_lenet_is_tried():
    known = set(yaml.safe_load((CONF / "model/lenet.yaml").read_text()))
    assert set(KNOBS) == {knob for knob in known if not knob.startswith("_")}


@pytest.mark.parametrize(("option", "knobs"), CASES, ids=str)
def test_every_network_is_rebuilt(option, knobs, tmp_path):
    net, path = make_net(option, **knobs), tmp_path / "net.safetensors"
    path.write_bytes(safetensors_bytes(net))
    back, batch = load_predictor(path), random_batch(2)
    with torch.inference_mode():
        assert torch.equal(back(batch), net(batch))


ADAPTERS = [path.stem for path in sorted((CONF / "finetune").glob("*.yaml")) if path.stem in ("adapter", "prompt")]


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_are_rebuilt(name, tmp_path):
    options = yaml.safe_load((CONF / f"finetune/{name}.yaml").read_text())["finetune"]
    net, path = make_net("lenet"), tmp_path / "net.safetensors"
    net.model = build_option(options).adapt(net.model, DIGITS.shape).eval()
    net.config["structure"] = [options]
    for parameter in net.model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path.write_bytes(safetensors_bytes(net))
    back, batch = load_predictor(path), random_batch(2)
    assert len(back.model.state_dict()) > len(make_net("lenet").model.state_dict())
    with torch.inference_mode():
        assert torch.equal(back(batch), net(batch))


@pytest.mark.slow
@pytest.mark.parametrize(("option", "knobs"), CASES, ids=str)
def test_every_network_is_exported(option, knobs):
    net = make_net(option, **knobs)
    for write, read in ((onnx_bytes, onnx_outputs), (torch_export_bytes, exported_graph)):
        found = compare_outputs(net, {"file": read(write(net))}, [random_batch(1), random_batch(6)])
        assert found["same"], (write, found)


@pytest.mark.slow
@pytest.mark.parametrize("opset", [OPSETS[0], OPSETS[-1]])
def test_the_first_and_last_opset_export(opset):
    net = make_net("lenet", views=5, deslant=True)
    content = onnx_bytes(net, opset)
    assert onnx.ModelProto.FromString(content).opset_import[0].version == opset
    assert compare_outputs(net, {"file": onnx_outputs(content)}, [random_batch(4)])["same"]
