"""Exported files compute what their network computes, and carry its metadata."""

import json
import logging
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime", reason="the export extra is not installed")
pytest.importorskip("onnxscript", reason="the export extra is not installed")
pytest.importorskip("safetensors", reason="the export extra is not installed")


from src.cli.config import ROOT
from src.data.info import DataInfo
from src.errors import InputError
from src.model_files.load import load_predictor, numpy_predictor, require_weights
from src.model_files.locate import EXPORTED
from src.model_files.metadata import make_metadata, read_metadata
from src.model_files.onnx import onnx_bytes, parse_onnx
from src.model_files.torch_export import exported_graph
from src.model_files.verify import compare_outputs, outputs_of, random_images
from src.models.deslant import Deslant, _export_affine_grid
from tests.model_files.networks import DIGITS, WRITERS, make_net, random_batch


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_computes_what_the_network_computes_for_any_batch_size(files, net, suffix):
    back = load_predictor(files[suffix], threads=1)
    with torch.inference_mode():
        for count in (1, 2, 7, 130):
            batch = random_batch(count)
            torch.testing.assert_close(back(batch), net(batch), atol=2e-6, rtol=1e-5)
            torch.testing.assert_close(back.probs(batch), net.probs(batch), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_keeps_the_metadata_and_nothing_private(files, net, suffix):
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


def test_metadata_survive_a_round_trip(net):
    metadata = replace(make_metadata(net), notes={"int8": {"images": 3}}, epoch=9)
    assert read_metadata(metadata.to_strings(), "") == metadata
    assert json.loads(metadata.to_strings()["class_names"]) == list(DIGITS.class_names)


def test_formats_and_suffixes_match_the_export_command():
    from src.export import FORMATS

    assert set(WRITERS) == set(FORMATS.values()) == set(EXPORTED)


def test_the_graph_of_torch_export_runs_alone(files, net):
    graph = exported_graph(files[".pt2"].read_bytes())
    with torch.inference_mode():
        for count in (1, 5):
            batch = random_batch(count)
            probs, logits = graph(batch)
            assert torch.equal(logits, net(batch))
            torch.testing.assert_close(probs, net.probs(batch))


def test_the_exported_affine_grid_is_that_of_torch():
    maps, shape = Deslant().shears(torch.rand(6, 20, 28)), torch.Size((6, 1, 20, 28))
    wanted = torch.nn.functional.affine_grid(maps, shape, align_corners=False)
    torch.testing.assert_close(_export_affine_grid(maps, shape), wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.slow
def test_views_and_deslanting_are_in_the_file():
    net = make_net("lenet", views=5, deslant=True, activation="silu")
    back = parse_onnx(onnx_bytes(net), "here.onnx", 1)
    assert back.views == 5
    batch = torch.cat([random_batch(3), torch.zeros(1, 1, 28, 28, dtype=torch.uint8)])
    with torch.inference_mode():
        for count in (1, 4):
            torch.testing.assert_close(back(batch[:count]), net(batch[:count]), atol=1e-5, rtol=1e-4)


def test_a_regression_target_comes_out_in_its_unit():
    info = DataInfo((1, 12, 12), (), (0.1,), (0.3,), "angle_deg", 45.0)
    net = make_net("mlp", info)
    content = onnx_bytes(net)
    back = parse_onnx(content, "here.onnx", 1)
    batch = random_batch(3, info)
    with torch.inference_mode():
        torch.testing.assert_close(back(batch), net(batch))
        torch.testing.assert_close(back.probs(batch), net(batch) * 45)
    assert [entry.name for entry in back.run.session.get_outputs()] == ["value", "logits"]
    np.testing.assert_allclose(numpy_predictor(back)(batch.numpy()), net(batch).detach().numpy() * 45, rtol=1e-4)
    found = compare_outputs(net, {"file": outputs_of(back)}, random_images(info.shape))
    assert found["same"]
    assert found["changed"] is None


def test_a_numpy_predictor_gives_probabilities_with_either_engine(files, net, caplog, monkeypatch):
    batch = random_batch(5)
    with torch.inference_mode():
        wanted = net.probs(batch).numpy()
    np.testing.assert_allclose(numpy_predictor(load_predictor(files[".onnx"]))(batch.numpy()), wanted, atol=1e-6)
    with caplog.at_level(logging.INFO):
        predictor = numpy_predictor(net)
    assert caplog.text == ""
    np.testing.assert_allclose(predictor(batch.numpy()), wanted, atol=1e-6)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with caplog.at_level(logging.INFO):
        predictor = numpy_predictor(net)
    assert "torch computes the predictions: onnxruntime is not installed" in caplog.text
    np.testing.assert_allclose(predictor(batch.numpy()), wanted, atol=1e-6)


def test_weights_and_base_are_refused_for_onnx(files):
    require_weights(load_predictor(files[".safetensors"]), "explain")
    with pytest.raises(InputError, match="explain needs the network itself"):
        require_weights(load_predictor(files[".onnx"]), "explain")
    with pytest.raises(InputError, match="base="):
        load_predictor(files[".onnx"], base="x.ckpt")


def test_differences_of_outputs_are_found(net):
    other = make_net("lenet", batch_norm=True)
    other.model.load_state_dict(net.model.state_dict())
    others = {"right": outputs_of(net), "other": outputs_of(other)}
    same = compare_outputs(net, others, [random_batch(20)])
    assert (same["same"], same["changed"], same["logits"], same["images"]) == (True, 0, 0.0, 20)
    with torch.no_grad():
        other.model.head[-1].bias[3] += 1e-3
    found = compare_outputs(net, others, [random_batch(20), random_batch(30)])
    assert not found["same"]
    assert found["images"] == 50
    assert found["logits"] == pytest.approx(1e-3, rel=1e-2)
    with torch.no_grad():
        other.model.head[-1].bias[3] = float("nan")
    assert compare_outputs(net, others, [random_batch(2)])["logits"] == float("inf")
