"""Untrained networks as files give them, and the writers of every format."""

import importlib
from pathlib import Path

import pytest
import torch
import yaml

from src.cli.config import CONF
from src.data.info import DataInfo
from src.errors import InputError
from src.inference.model import InferenceModel
from src.model_files.load import load_predictor
from src.model_files.onnx import onnx_bytes, parse_onnx
from src.model_files.safetensors import safetensors_bytes
from src.model_files.torch_export import torch_export_bytes
from src.model_files.verify import outputs_of

DIGITS = DataInfo((1, 28, 28), tuple("0123456789"), (0.13,), (0.31,))
WRITERS = {".onnx": onnx_bytes, ".pt2": torch_export_bytes, ".safetensors": safetensors_bytes}


def build_option(options: dict, **more):
    """The object that an option of conf describes."""
    module, _, name = options["_target_"].rpartition(".")
    arguments = {key: value for key, value in options.items() if not key.startswith("_")}
    return getattr(importlib.import_module(module), name)(**arguments, **more)


def make_net(option: str = "lenet", info: DataInfo = DIGITS, views: int = 1, **knobs) -> InferenceModel:
    """An untrained network as load_model gives one."""
    options = {**yaml.safe_load((CONF / f"model/{option}.yaml").read_text()), **knobs}
    model = build_option(options, shape=info.shape, num_classes=info.num_classes)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.3, 0.3)
            layer.running_var.uniform_(0.5, 2.0)
    config = {"model": options, "data": {"name": "digits", "root": "data"}, "views": views, "secret": "not shipped"}
    net = InferenceModel(model, info, config, digest="ab" * 32, epoch=3).eval()
    net.temperature = None if info.target else 1.7
    return net


def random_batch(count: int, info: DataInfo = DIGITS) -> torch.Tensor:
    return torch.randint(0, 256, (count, *info.shape), dtype=torch.uint8)


def refusal_of(path: Path | str) -> str:
    """The reason why a file is not loaded: one line."""
    with pytest.raises(InputError) as caught:
        load_predictor(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def onnx_outputs(content: bytes):
    """The outputs of an ONNX file as a function."""
    return outputs_of(parse_onnx(content, "here.onnx", 1))
