"""Exported files answer as the network does, and nothing but a network comes out of a file."""

import importlib
import io
import itertools
import json
import logging
import pickle
import random
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

pytest.importorskip("onnxruntime", reason="the export extra is not installed")
pytest.importorskip("onnxscript", reason="the export extra is not installed")
pytest.importorskip("safetensors", reason="the export extra is not installed")

import onnx
from safetensors.torch import save

from src.cli.config import CONF, ROOT
from src.data.info import DataInfo
from src.errors import InputError
from src.inference.model import InferenceModel
from src.model_files.checkpoint import embed_archive_digest, load_model, write_checkpoint
from src.model_files.load import load_predictor, numpy_predictor, require_weights
from src.model_files.locate import EXPORTED, find_checkpoint
from src.model_files.metadata import DIGEST_KEY, DIGEST_PLACEHOLDER, embed_digest, make_metadata, read_metadata
from src.model_files.onnx import OPSETS, onnx_bytes, parse_onnx, serialize_onnx
from src.model_files.onnxruntime import OnnxNet
from src.model_files.quantize import LAYERS, METHODS, quantize
from src.model_files.safetensors import safetensors_bytes
from src.model_files.sniff import read_model_file, sniff_suffix
from src.model_files.torch_export import exported_graph, torch_export_bytes
from src.model_files.verify import compare_outputs, outputs_of, random_images
from src.models.convolution import ALGORITHMS
from src.models.deslant import Deslant, _export_affine_grid
from src.models.layers import ACTIVATIONS, POOLINGS

DIGITS = DataInfo((1, 28, 28), tuple("0123456789"), (0.13,), (0.31,))
WRITERS = {".onnx": onnx_bytes, ".pt2": torch_export_bytes, ".safetensors": safetensors_bytes}


def built(options: dict, **more):
    """What an option of conf describes."""
    module, _, name = options["_target_"].rpartition(".")
    arguments = {key: value for key, value in options.items() if not key.startswith("_")}
    return getattr(importlib.import_module(module), name)(**arguments, **more)


def made(option: str = "lenet", info: DataInfo = DIGITS, views: int = 1, **knobs) -> InferenceModel:
    """An untrained network as load_model would give it."""
    options = {**yaml.safe_load((CONF / f"model/{option}.yaml").read_text()), **knobs}
    model = built(options, shape=info.shape, num_classes=info.num_classes)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.3, 0.3)
            layer.running_var.uniform_(0.5, 2.0)
    config = {"model": options, "data": {"name": "digits", "root": "data"}, "views": views, "secret": "not shipped"}
    net = InferenceModel(model, info, config, digest="ab" * 32, epoch=3).eval()
    net.temperature = None if info.target else 1.7
    return net


def images(count: int, info: DataInfo = DIGITS) -> torch.Tensor:
    return torch.randint(0, 256, (count, *info.shape), dtype=torch.uint8)


@pytest.fixture(scope="module")
def net() -> InferenceModel:
    torch.manual_seed(0)
    return made("lenet", batch_norm=True)


@pytest.fixture(scope="module")
def files(net, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("exported")
    for suffix, write in WRITERS.items():
        (folder / f"net{suffix}").write_bytes(write(net))
    return {suffix: folder / f"net{suffix}" for suffix in WRITERS}


def refused(path: Path | str) -> str:
    """The reason why a file is not loaded: one line."""
    with pytest.raises(InputError) as caught:
        load_predictor(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_answers_as_the_network_for_any_number_of_images(files, net, suffix):
    back = load_predictor(files[suffix], threads=1)
    with torch.inference_mode():
        for count in (1, 2, 7, 130):
            given = images(count)
            torch.testing.assert_close(back(given), net(given), atol=2e-6, rtol=1e-5)
            torch.testing.assert_close(back.probs(given), net.probs(given), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_knows_what_the_network_knew(files, net, suffix):
    back = load_predictor(files[suffix])
    assert (back.info, back.epoch, back.temperature, back.views) == (DIGITS, 3, 1.7, 1)
    assert back.config["model"] == net.config["model"]
    assert back.config["data"] == net.config["data"]
    assert back.checkpoint == net.digest != back.digest
    assert (back.file, back.complete) == (str(files[suffix]), True)
    assert back.engine == ("onnxruntime" if suffix == ".onnx" else "torch")
    content = files[suffix].read_bytes()
    assert b"not shipped" not in content
    assert str(ROOT).encode() not in content
    assert b"/site-packages" not in content


def test_formats_and_suffixes_are_those_of_the_command():
    from src.export import FORMATS

    assert set(WRITERS) == set(FORMATS.values()) == set(EXPORTED)


def test_the_graph_of_torch_export_needs_nothing_from_here(files, net):
    answer = exported_graph(files[".pt2"].read_bytes())
    with torch.inference_mode():
        for count in (1, 5):
            given = images(count)
            probs, logits = answer(given)
            assert torch.equal(logits, net(given))
            torch.testing.assert_close(probs, net.probs(given))


def test_upright_digits_are_sampled_at_the_same_places():
    maps, shape = Deslant().shears(torch.rand(6, 20, 28)), torch.Size((6, 1, 20, 28))
    wanted = torch.nn.functional.affine_grid(maps, shape, align_corners=False)
    torch.testing.assert_close(_export_affine_grid(maps, shape), wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
def test_views_and_upright_digits_are_in_the_file():
    net = made("lenet", views=5, deslant=True, activation="silu")
    back = parse_onnx(onnx_bytes(net), "here.onnx", 1)
    assert back.views == 5
    given = torch.cat([images(3), torch.zeros(1, 1, 28, 28, dtype=torch.uint8)])
    with torch.inference_mode():
        for count in (1, 4):
            torch.testing.assert_close(back(given[:count]), net(given[:count]), atol=1e-5, rtol=1e-4)


def test_a_number_comes_out_in_its_unit():
    info = DataInfo((1, 12, 12), (), (0.1,), (0.3,), "angle_deg", 45.0)
    net = made("mlp", info)
    content = onnx_bytes(net)
    back = parse_onnx(content, "here.onnx", 1)
    given = images(3, info)
    with torch.inference_mode():
        torch.testing.assert_close(back(given), net(given))
        torch.testing.assert_close(back.probs(given), net(given) * 45)
    assert [entry.name for entry in back.run.session.get_outputs()] == ["value", "logits"]
    np.testing.assert_allclose(numpy_predictor(back)(given.numpy()), net(given).detach().numpy() * 45, rtol=1e-4)
    found = compare_outputs(net, {"file": outputs_of(back)}, random_images(info.shape))
    assert found["same"]
    assert found["changed"] is None


@pytest.mark.parametrize("suffix", WRITERS)
def test_no_damaged_file_is_loaded(files, tmp_path, suffix):
    content, draw = files[suffix].read_bytes(), random.Random(0)
    path = tmp_path / f"damaged{suffix}"
    places = [*range(0, 24), *(len(content) - n for n in range(1, 24))]
    places += [draw.randrange(len(content)) for _ in range(60)]
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        refused(path)
    for size in (0, 1, 7, 8, 9, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        refused(path)
    path.write_bytes(content + b"\0")
    refused(path)
    for other, file in files.items():
        if other != suffix:
            path.write_bytes(file.read_bytes())
            refused(path)
    path.unlink()
    refused(path)
    refused(f"https://example.org/net{suffix}")


@pytest.mark.parametrize("suffix", [*WRITERS, ".ckpt"])
def test_a_file_under_another_name_is_named(files, tmp_path, suffix):
    write_checkpoint({"state_dict": {}, "config": {}, "facts": {}}, tmp_path / "whole.ckpt")
    for kind, file in {**files, ".ckpt": tmp_path / "whole.ckpt"}.items():
        path = tmp_path / f"renamed{suffix}"
        path.write_bytes(file.read_bytes())
        assert sniff_suffix(file.read_bytes()) == kind
        if kind != suffix:
            with pytest.raises(InputError, match=rf"by its content: give it a name that ends in \{kind}$"):
                load_predictor(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is empty: it has 0 bytes"):
        load_predictor(path)


def changed_card(net, **values) -> dict[str, str]:
    return {**make_metadata(net).to_strings(), **{name: json.dumps(value) for name, value in values.items()}}


EVIL = [
    ("_target_", "os.system"),
    ("_target_", "torch.nn.Linear"),
    ("_target_", "src.models.layers.make_head"),
    ("_target_", "src.finetune.lora.LoRA"),
    ("_target_", None),
    ("activation", "exec"),
    ("padded", 7e300),
    ("nonsense", 1),
    ("hidden", [10**12]),
    ("hidden", [2**62, 2**62]),
]


@pytest.mark.parametrize(("key", "value"), EVIL)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt2"])
def test_a_file_never_chooses_what_is_built(net, files, tmp_path, suffix, key, value):
    config = {**make_metadata(net).config, "model": {**net.config["model"], key: value}}
    write(tmp_path / f"evil{suffix}", files[suffix], changed_card(net, config=config))
    if (key, value) == ("padded", 7e300):  # true, as 1 would be
        load_predictor(tmp_path / f"evil{suffix}")
    else:
        refused(tmp_path / f"evil{suffix}")


def write(path: Path, like: Path, texts: dict[str, str]) -> None:
    """The weights of a file under another card, sealed as ours."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load

        path.write_bytes(embed_digest(save(load(like.read_bytes()), {**texts, DIGEST_KEY: DIGEST_PLACEHOLDER})))
    else:
        path.write_bytes(rezipped(like.read_bytes(), {f"archive/extra/{name}": text for name, text in texts.items()}))


def rezipped(content: bytes, parts: dict[str, str | bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    """An archive with some parts replaced, sealed as ours."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", kind) as new:
        for name in dict.fromkeys([*old.namelist(), *parts]):
            new.writestr(name, parts.get(name, old.read(name) if name in old.namelist() else b""))
    return embed_archive_digest(buffer.getbuffer())


BROKEN = [
    {"facts": None},
    {"facts": {**DIGITS.plain(), "shape": [1, 28]}},
    {"facts": {**DIGITS.plain(), "shape": [1, 28, 10**9]}},
    {"facts": {**DIGITS.plain(), "std": [0.0]}},
    {"facts": {**DIGITS.plain(), "mean": ["0"]}},
    {"facts": {**DIGITS.plain(), "class_names": [1, 2]}},
    {"facts": {**DIGITS.plain(), "class_names": ["0", "1"]}},
    {"facts": {**DIGITS.plain(), "more": 1}},
    {"temperature": 0},
    {"temperature": float("nan")},
    {"views": 3},
    {"views": [1]},
    {"epoch": "one"},
    {"config": []},
    {"config": {"model": {}, "data": {}}},
    {"format": "another"},
]


@pytest.mark.parametrize("values", BROKEN, ids=str)
@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
def test_a_card_that_makes_no_sense_is_refused(net, files, tmp_path, suffix, values):
    path = tmp_path / f"broken{suffix}"
    texts = changed_card(net, **values)
    if suffix == ".safetensors":
        write(path, files[suffix], texts)
    else:
        model = onnx.load(files[suffix])
        del model.metadata_props[:]
        for name, text in {**texts, DIGEST_KEY: DIGEST_PLACEHOLDER}.items():
            model.metadata_props.add(key=name, value=text)
        path.write_bytes(embed_digest(model.SerializeToString()))
        if values == {"config": {"model": {}, "data": {}}}:  # ONNX Runtime needs no network of ours
            load_predictor(path)
            return
    refused(path)


def test_weights_that_do_not_fit_are_refused(net, files, tmp_path):
    weights = {key: value.clone() for key, value in net.model.state_dict().items()}
    texts = {**make_metadata(net).to_strings(), DIGEST_KEY: DIGEST_PLACEHOLDER}
    first = next(iter(weights))
    for wrong in (
        {key: value for key, value in weights.items() if key != first},
        {**weights, "more": torch.zeros(1)},
        {**weights, first: weights[first][:1].clone()},
        {**weights, first: weights[first].double()},
    ):
        path = tmp_path / "wrong.safetensors"
        path.write_bytes(embed_digest(save(wrong, texts)))
        assert "do not fit" in refused(path)
    index = "archive/data/weights/model_weights_config.json"
    good = json.loads(zipfile.ZipFile(files[".pt2"]).read(index))["config"]
    name = next(iter(good))
    for change in (
        {"path_name": "../../../etc/passwd"},
        {"path_name": "weight_1"},
        {"tensor_meta": {**good[name]["tensor_meta"], "strides": [{"as_int": 10**9}] * 4}},
        {"tensor_meta": {**good[name]["tensor_meta"], "sizes": [{"as_int": 10**6}] * 4}},
        {"tensor_meta": None},
    ):
        text = json.dumps({"config": {**good, name: {**good[name], **change}}})
        path = tmp_path / "wrong.pt2"
        path.write_bytes(rezipped(files[".pt2"].read_bytes(), {index: text}))
        refused(path)
    path.write_bytes(rezipped(files[".pt2"].read_bytes(), {}, zipfile.ZIP_DEFLATED))
    refused(path)


class Touch:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore")
def test_a_pickle_in_an_archive_is_never_loaded(net, files, tmp_path):
    """torch.export.load of torch 2.14 would load it: src.model_files.torch_export does without that function."""
    mark = tmp_path / "it ran"
    buffer = io.BytesIO()
    torch.save((Touch(mark),), buffer)
    evil = rezipped(files[".pt2"].read_bytes(), {"archive/data/sample_inputs/model.pt": buffer.getvalue()})
    (tmp_path / "evil.pt2").write_bytes(evil)
    back = load_predictor(tmp_path / "evil.pt2")
    given = images(2)
    with torch.inference_mode():
        assert torch.equal(back(given), net(given))
    assert not mark.exists()
    torch.export.load(io.BytesIO(evil))  # says nothing
    assert mark.exists()
    (tmp_path / "plain.pt2").write_bytes(pickle.dumps({"state_dict": 1}))
    refused(tmp_path / "plain.pt2")


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
    card = read_metadata({entry.key: entry.value for entry in model.metadata_props}, "")
    trick(model)
    path = tmp_path / "trick.onnx"
    path.write_bytes(serialize_onnx(model, card))
    refused(path)
    assert capfd.readouterr().err == ""


def test_foreign_files_are_refused(tmp_path):
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    path = tmp_path / "foreign.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", value[:1], value[1:])), path)
    assert "was not exported by this project" in refused(path)
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(save({"x": torch.zeros(2)}))
    assert "was not exported by this project" in refused(path)
    path.write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    refused(path)


def test_large_files_are_not_read(files):
    with pytest.raises(InputError, match="bytes: files of up to"):
        read_model_file(files[".onnx"], max_bytes=1000)


def test_fast_answers_are_probabilities(files, net, caplog, monkeypatch):
    given = images(5)
    with torch.inference_mode():
        wanted = net.probs(given).numpy()
    np.testing.assert_allclose(numpy_predictor(load_predictor(files[".onnx"]))(given.numpy()), wanted, atol=1e-6)
    with caplog.at_level(logging.INFO):
        answer = numpy_predictor(net)
    assert caplog.text == ""
    np.testing.assert_allclose(answer(given.numpy()), wanted, atol=1e-6)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with caplog.at_level(logging.INFO):
        answer = numpy_predictor(net)
    assert "torch computes the predictions: onnxruntime is not installed" in caplog.text
    np.testing.assert_allclose(answer(given.numpy()), wanted, atol=1e-6)


def test_only_networks_with_weights_go_where_weights_are_needed(files):
    require_weights(load_predictor(files[".safetensors"]), "explain")
    with pytest.raises(InputError, match="explain needs the network itself"):
        require_weights(load_predictor(files[".onnx"]), "explain")
    with pytest.raises(InputError, match="base="):
        load_predictor(files[".onnx"], base="x.ckpt")


def test_a_difference_is_found(net):
    other = made("lenet", batch_norm=True)
    other.model.load_state_dict(net.model.state_dict())
    others = {"right": outputs_of(net), "other": outputs_of(other)}
    same = compare_outputs(net, others, [images(20)])
    assert (same["same"], same["changed"], same["logits"], same["images"]) == (True, 0, 0.0, 20)
    with torch.no_grad():
        other.model.head[-1].bias[3] += 1e-3
    found = compare_outputs(net, others, [images(20), images(30)])
    assert not found["same"]
    assert found["images"] == 50
    assert found["logits"] == pytest.approx(1e-3, rel=1e-2)
    with torch.no_grad():
        other.model.head[-1].bias[3] = float("nan")
    assert compare_outputs(net, others, [images(2)])["logits"] == float("inf")


def test_eight_bits_keep_card_and_most_of_the_answer(net, files):
    content, given = files[".onnx"].read_bytes(), images(60)
    small = quantize(content, given.numpy())
    assert len(small) < len(content) / 2
    back = parse_onnx(small, "here.onnx", 1)
    assert isinstance(back, OnnxNet)
    assert (back.info, back.temperature, back.checkpoint) == (DIGITS, 1.7, net.digest)
    assert back.notes == {"int8": {"layers": "linear", "method": "minmax", "images": 60}}
    with torch.inference_mode():
        off, size = (back(given) - net(given)).abs().max(), net(given).std()
    assert 0 < off < 0.2 * size
    for wrong in ({"method": "guess"}, {"layers": "some"}):
        with pytest.raises(InputError, match="one of"):
            quantize(content, given.numpy(), **wrong)
    with pytest.raises(InputError, match="at least one"):
        quantize(content, given.numpy()[:0])


def test_a_folder_with_one_exported_file_is_a_checkpoint(files, tmp_path):
    assert find_checkpoint(str(files[".pt2"]), tmp_path) == files[".pt2"]
    (tmp_path / "one").mkdir()
    (tmp_path / "one/a.onnx").write_bytes(b"")
    (tmp_path / "one/results.json").write_bytes(b"")
    assert find_checkpoint(str(tmp_path / "one"), tmp_path) == tmp_path / "one/a.onnx"
    (tmp_path / "one/b.pt2").write_bytes(b"")
    with pytest.raises(InputError, match="several exported files"):
        find_checkpoint(str(tmp_path / "one"), tmp_path)
    (tmp_path / "one/best.ckpt").write_bytes(b"")
    assert find_checkpoint(str(tmp_path / "one"), tmp_path) == tmp_path / "one/best.ckpt"
    with pytest.raises(InputError, match=r"no last\.ckpt to resume"):
        find_checkpoint(str(tmp_path / "one/a.onnx"), tmp_path, "last.ckpt", "resume_from")
    with pytest.raises(InputError, match="no run in"):
        find_checkpoint("newest", tmp_path / "one")


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
SMALL = {"pretrained": {"size": 32}}
CASES = [(name, SMALL.get(name, {})) for name in OPTIONS] + [("lenet", knobs) for knobs in LENETS]


def test_every_knob_of_lenet_is_tried():
    known = set(yaml.safe_load((CONF / "model/lenet.yaml").read_text()))
    assert set(KNOBS) == {knob for knob in known if not knob.startswith("_")}


@pytest.mark.parametrize(("option", "knobs"), CASES, ids=str)
def test_every_network_is_rebuilt(option, knobs, tmp_path):
    net, path = made(option, **knobs), tmp_path / "net.safetensors"
    path.write_bytes(safetensors_bytes(net))
    back, given = load_predictor(path), images(2)
    with torch.inference_mode():
        assert torch.equal(back(given), net(given))


ADDING = [path.stem for path in sorted((CONF / "finetune").glob("*.yaml")) if path.stem in ("adapter", "prompt")]


@pytest.mark.parametrize("name", ADDING)
def test_what_fine_tuning_added_is_rebuilt(name, tmp_path):
    options = yaml.safe_load((CONF / f"finetune/{name}.yaml").read_text())["finetune"]
    net, path = made("lenet"), tmp_path / "net.safetensors"
    net.model = built(options).adapt(net.model, DIGITS.shape).eval()
    net.config["structure"] = [options]
    for parameter in net.model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path.write_bytes(safetensors_bytes(net))
    back, given = load_predictor(path), images(2)
    assert len(back.model.state_dict()) > len(made("lenet").model.state_dict())
    with torch.inference_mode():
        assert torch.equal(back(given), net(given))


@pytest.mark.slow
@pytest.mark.parametrize(("option", "knobs"), CASES, ids=str)
def test_every_network_is_exported(option, knobs):
    net = made(option, **knobs)
    for write, read in ((onnx_bytes, answers_of_onnx), (torch_export_bytes, exported_graph)):
        found = compare_outputs(net, {"file": read(write(net))}, [images(1), images(6)])
        assert found["same"], (write, found)


def answers_of_onnx(content: bytes):
    return outputs_of(parse_onnx(content, "here.onnx", 1))


@pytest.mark.slow
@pytest.mark.parametrize("opset", [OPSETS[0], OPSETS[-1]])
def test_first_and_last_opset(opset):
    net = made("lenet", views=5, deslant=True)
    content = onnx_bytes(net, opset)
    assert onnx.ModelProto.FromString(content).opset_import[0].version == opset
    assert compare_outputs(net, {"file": answers_of_onnx(content)}, [images(4)])["same"]


@pytest.mark.slow
def test_commands(tmp_path):
    from tests.commands import files as written
    from tests.commands import run, train_digits

    assert train_digits(tmp_path / "run", "figures=false").returncode == 0
    measured = run("src.evaluate", f"ckpt={tmp_path}/run", "figures=false", f"hydra.run.dir={tmp_path}/plain")
    assert measured.returncode == 0, measured.stderr
    wanted = json.loads((tmp_path / "plain/results.json").read_text())
    for name, suffix in (("onnx", ".onnx"), ("torch_export", ".pt2")):
        folder = tmp_path / name
        done = run("src.export", f"ckpt={tmp_path}/run", f"format={name}", f"hydra.run.dir={folder}")
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
        assert "360 images of the test split of digits: no decisions changed" in done.stdout
        assert f"python -m src.evaluate ckpt={folder}/lenet_digits{suffix}" in done.stdout
        kept = {"results.json", "status.json", "export.log", f"lenet_digits{suffix}"}
        assert {file for file in written(folder) if not file.startswith(".hydra")} == kept
        results = json.loads((folder / "results.json").read_text())
        assert results["bytes"] == (folder / f"lenet_digits{suffix}").stat().st_size
        assert results["compared"]["same"]
    again = run("src.evaluate", f"ckpt={tmp_path}/onnx", "figures=false", f"hydra.run.dir={tmp_path}/again")
    assert again.returncode == 0, again.stderr
    results = json.loads((tmp_path / "again/results.json").read_text())
    exported = json.loads((tmp_path / "onnx/results.json").read_text())
    assert results["sha256"] == exported["file_sha256"] != exported["sha256"] == wanted["sha256"]
    assert results["confusion"] == wanted["confusion"]
    assert results["ece"] == pytest.approx(wanted["ece"], abs=1e-4)

    there = tmp_path / "onnx/lenet_digits.onnx"
    before = there.read_bytes()
    for words, reason in (
        ([f"ckpt={tmp_path}/run", f"file={there}"], "give overwrite=true"),
        ([f"ckpt={tmp_path}/run", "data=mnist", "data.root=/nowhere", "data.download=false"], "or give check=false"),
    ):
        done = run("src.export", *words, f"hydra.run.dir={tmp_path}/refused")
        assert (done.returncode, done.stdout) == (1, "")
        assert reason in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert there.read_bytes() == before
    assert not list((tmp_path / "refused").glob("*.onnx"))


@pytest.mark.slow
def test_mnist_in_float_and_in_eight_bits(mnist_root, tmp_path):
    from src.data.datamodule import ImageData
    from src.evaluation.evaluate import predict
    from tests.commands import run

    words = ["experiment=fast", "trainer.max_epochs=1", "test=false", "trainer.accelerator=cpu"]
    words += [f"data.root={mnist_root}", "data.download=false", f"hydra.run.dir={tmp_path}/run"]
    done = run("src.train", *words)
    assert done.returncode == 0, done.stderr
    net = load_model(tmp_path / "run/checkpoints/best.ckpt")
    data = ImageData(root=str(mnist_root), download=False)
    data.setup()
    content = onnx_bytes(net)
    batches = (given for given, _ in data.loader(data.test_set))
    found = compare_outputs(net, {"file": answers_of_onnx(content)}, batches)
    assert found["same"]
    assert found["images"] == 10_000
    calibrated = data.train_set[torch.arange(1000)][0].numpy()
    logits, labels = predict(net, data.test_dataloader())
    right = (logits.argmax(1) == labels).double().mean()
    assert right > 0.97
    for method, layers in itertools.zip_longest(METHODS, LAYERS):
        small = parse_onnx(quantize(content, calibrated, method, layers), "here.onnx")
        answered = predict(small, data.test_dataloader())[0].argmax(1)
        assert right - (answered == labels).double().mean() < 0.001, (method, layers)


def test_a_card_reads_what_it_wrote(net):
    card = replace(make_metadata(net, int8={"images": 3}), epoch=9)
    assert read_metadata(card.to_strings(), "") == card
    assert json.loads(card.to_strings()["class_names"]) == list(DIGITS.class_names)
