"""A trained network from any file that this project writes, and as a function that answers as fast as it can."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from src.errors import InputError, require, require_packages
from src.model_files.checkpoint import load_model
from src.model_files.locate import EXPORTED

log = logging.getLogger(__name__)
LOGITS_OFF = 1e-3  # that ONNX Runtime may differ from torch, as a share of the largest logit or 1


def load_predictor(path: Path | str, base: Path | str | None = None, threads: int | None = None) -> nn.Module:
    """The trained network of a checkpoint or an exported file, in eval mode: an `InferenceModel`, or for ONNX
    `src.model_files.onnxruntime.OnnxNet`, which has no weights to look at.

    base: where the start of a checkpoint of changes is now. threads: of ONNX Runtime; None takes as many as torch.
    Raises InputError for what is damaged, foreign or asks for more than a network.
    """
    kind = Path(path).suffix.lower()
    whole = f"base={base}: an exported file is whole: leave base out"
    require(base is None or kind not in EXPORTED, whole)
    if kind == ".onnx":
        from src.model_files.onnx import read_onnx

        return read_onnx(path, threads)
    if kind == ".pt2":
        from src.model_files.torch_export import read_torch_export

        return read_torch_export(path)
    if kind == ".safetensors":
        from src.model_files.safetensors import read_safetensors

        return read_safetensors(path)
    return load_model(path, base)


def require_weights(net: nn.Module, what: str) -> None:
    """Raise InputError if only ONNX Runtime can compute `net`; what: that needs torch's network, for the error."""
    if net.engine != "torch":
        raise InputError(
            f"{what} needs the network itself, and {Path(net.file).name} is for ONNX Runtime only: "
            "give the checkpoint it came from, or a safetensors file"
        )


def numpy_predictor(net: nn.Module, threads: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """`net` as a function of raw grey levels, uint8 (B, C, H, W), to calibrated probabilities, float32 (B, K), or for
    networks of a number to it in its unit (B, 1).

    ONNX Runtime where it is installed and gives what torch gives on a few images; else torch, and the log says why.
    Safe to call from several threads; its attribute `engine` says which of the two it is.
    """
    if net.engine == "onnxruntime":
        return _onnx(net.content, net.info, threads)
    try:
        require_packages("export", "onnxruntime")
        from src.model_files.onnx import onnx_bytes

        call = _onnx(onnx_bytes(net), net.info, threads)
        images = np.random.default_rng(0).integers(0, 256, (8, *net.info.shape), dtype=np.uint8)
        images[:4] = images[:4] // 128 * 255  # black and white
        wanted, given = _torch(net)(images), call(images)
        off = np.abs(wanted - given).max()
        require(off <= LOGITS_OFF * max(1.0, np.abs(wanted).max()), f"ONNX Runtime's answers are {off:.2g} off")
        return call
    except InputError as error:
        log.info("answers come from torch: %s", error)
        return _torch(net)


def _onnx(content: bytes, info, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    from src.model_files.onnxruntime import Runner
    from src.model_files.tracing import output_names

    call = partial(Runner(content, threads), output_names(info)[0])
    call.engine = "onnxruntime"
    return call


def _torch(net: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    from src.model_files.tracing import TracedModel

    plain = TracedModel(net).eval()

    def call(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return plain(torch.from_numpy(images))[0].numpy()

    call.engine = "torch"
    return call
