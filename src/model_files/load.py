"""A trained network from any file of this project: as a module, or as a fast function of NumPy arrays."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from src.data.info import DataInfo
from src.errors import InputError, require, require_packages
from src.inference.model import InferenceModel, Predictor
from src.model_files.checkpoint import load_model
from src.model_files.locate import EXPORTED, read_model_file
from src.model_files.onnx import onnx_bytes, parse_onnx
from src.model_files.onnxruntime import OnnxNet, Runner
from src.model_files.safetensors import read_safetensors
from src.model_files.torch_export import read_torch_export
from src.model_files.tracing import output_names

log = logging.getLogger(__name__)
TOLERANCE = 1e-3  # by which predictions of ONNX Runtime may differ from torch's, as a share of the largest one or of 1


def load_predictor(
    path: Path | str, base: Path | str | None = None, threads: int | None = None
) -> InferenceModel | OnnxNet:
    """The trained network of a checkpoint or an exported file, in eval mode; an `OnnxNet`, of ONNX, has no weights.

    base: the source model of an adapter checkpoint, if it moved. threads: of ONNX Runtime; None takes as many as torch.
    Raises InputError for a file that is damaged, foreign or asks for more than a network.
    """
    suffix = Path(path).suffix.lower()
    require(base is None or suffix not in EXPORTED, f"base={base}: an exported file holds all weights: leave base out")
    if suffix == ".onnx":
        return parse_onnx(read_model_file(path), path, threads)
    if suffix == ".pt2":
        return read_torch_export(path)
    return read_safetensors(path) if suffix == ".safetensors" else load_model(path, base)


def require_weights(net: Predictor, user: str) -> InferenceModel:
    """`net` with its weights. Raises InputError if only ONNX Runtime can compute it; user: what needs the weights."""
    if isinstance(net, InferenceModel):
        return net
    advice = "give the checkpoint it came from, or a safetensors file"
    raise InputError(f"{user} needs the network itself, and {Path(net.file).name} is for ONNX Runtime only: {advice}")


@dataclass(frozen=True)
class NumpyPredictor:
    """Raw grey levels uint8 (B, C, H, W) to calibrated probabilities float32 (B, K), or a regression target's value in
    its unit (B, 1); thread-safe. engine: what computes it, torch or onnxruntime."""

    engine: str
    run: Callable[[np.ndarray], np.ndarray]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.run(images)


def numpy_predictor(net: InferenceModel | OnnxNet, threads: int = 1) -> NumpyPredictor:
    """`net` as a function of NumPy arrays, as fast as this machine computes it.

    By ONNX Runtime if it is installed and agrees with torch on a few images; else by torch, and the log says why.
    """
    if isinstance(net, OnnxNet):
        return _by_onnxruntime(net.content, net.info, threads)
    by_torch = NumpyPredictor("torch", partial(_run_torch, net))
    try:
        require_packages("export", "onnxruntime")
        by_onnxruntime = _by_onnxruntime(onnx_bytes(net), net.info, threads)
        images = np.random.default_rng(0).integers(0, 256, (8, *net.info.shape), dtype=np.uint8)
        images[:4] = images[:4] // 128 * 255  # black and white
        expected = by_torch(images)
        difference = np.abs(expected - by_onnxruntime(images)).max()
        close = difference <= TOLERANCE * max(1.0, np.abs(expected).max())
        require(close, f"ONNX Runtime's predictions are {difference:.2g} off")
        return by_onnxruntime
    except InputError as error:
        log.info("torch computes the predictions: %s", error)
        return by_torch


def _by_onnxruntime(content: bytes, info: DataInfo, threads: int) -> NumpyPredictor:
    return NumpyPredictor("onnxruntime", partial(Runner(content, threads), output_names(info)[0]))


def _run_torch(net: InferenceModel, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return net.probs(torch.from_numpy(images)).numpy()
