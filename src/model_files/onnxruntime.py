"""ONNX Runtime: the network of a file as a module like any other, and as a plain function."""

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from src.data.info import DataInfo
from src.data.seen_images import SeenImages
from src.errors import InputError, require
from src.model_files.metadata import Metadata, attach_metadata
from src.model_files.tracing import INPUT, output_names

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
# Images per call of a convolutional network and thread: their activations stay in the core's cache. LeNet-5 reads
# 77,000 images a second in chunks of 16, 67,000 in chunks of 256; fully connected networks are faster in larger ones.
CONV_CHUNK, LINEAR_CHUNK = 16, 1 << 20


def make_session(content: bytes, threads: int = 1) -> "InferenceSession":
    """A session on the CPU with this many threads."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # above errors, which are raised
    # Between two layers; without waiting two threads lose a seventh, and endless waiting takes the core from others.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "100")
    # This one pools in integers, outside the layout of convolutions: 26 ms for 256 images where float32 takes 0.1 ms.
    disabled = ["QDQPropagationTransformer"]
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled)


class Runner:
    """Computes an output of a file, by its name, from grey levels uint8 (B, C, H, W); thread-safe.

    threads: work together on a few images; of many, each takes its own share through a convolutional network, so that
    none waits for another between two layers.
    """

    def __init__(self, content: bytes, threads: int = 1):
        self.content, self.threads = content, threads
        self.session = make_session(content, threads)
        self.chunk = CONV_CHUNK if b'"\x04Conv' in content else LINEAR_CHUNK  # the operator as it stands in a file

    def __call__(self, name: str, images: np.ndarray) -> np.ndarray:
        if len(images) <= self.chunk:
            return self.session.run([name], {INPUT: images})[0]
        share = -(-len(images) // self.threads)
        shares = [images[start : start + share] for start in range(0, len(images), share)]
        futures = [self._pool.submit(self._run_chunks, name, images) for images in shares[1:]]
        outputs = self._run_chunks(name, shares[0])
        return np.concatenate([*outputs, *(output for future in futures for output in future.result())])

    def _run_chunks(self, name: str, images: np.ndarray) -> list[np.ndarray]:
        starts = range(0, len(images), self.chunk)
        return [self._single.run([name], {INPUT: images[start : start + self.chunk]})[0] for start in starts]

    @cached_property
    def _single(self) -> "InferenceSession":
        return self.session if self.threads == 1 else make_session(self.content)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads - 1)


class OnnxNet(nn.Module):
    """A `src.inference.model.Predictor` of a checked ONNX file, computed by ONNX Runtime; it has no weights.

    Raises InputError if ONNX Runtime refuses the file, or its outputs are not what the metadata promise.
    """

    engine = "onnxruntime"
    complete = True
    seen: SeenImages | None = None
    info: DataInfo
    config: dict[str, Any]
    checkpoint: str
    epoch: int
    temperature: float | None
    views: int
    notes: dict[str, Any]
    digest: str
    file: str

    def __init__(self, content: bytes, metadata: Metadata, path: Path | str, threads: int | None = None):
        super().__init__()
        attach_metadata(self, metadata, content, path)
        self.content = content
        self._predictions, self._logits = output_names(metadata.info)
        try:
            self.run = Runner(content, threads or torch.get_num_threads())
            for count in (1, 3):
                blank, shape = np.zeros((count, *self.info.shape), np.uint8), (count, self.info.num_classes)
                outputs = [self.run(name, blank) for name in (self._predictions, self._logits)]
                good = all(x.shape == shape and x.dtype == np.float32 and np.isfinite(x).all() for x in outputs)
                require(good, f"{path}: its outputs are not {shape} finite numbers")
        except InputError:
            raise
        except Exception as error:  # ONNX Runtime has a class per kind of failure, none of them public
            message = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(f"{path} is no network that ONNX Runtime takes ({message})") from None

    def forward(self, images: Tensor) -> Tensor:
        return self._output(self._logits, images)

    def probs(self, images: Tensor) -> Tensor:
        """Calibrated probabilities (B, K) of raw grey levels (B, C, H, W); a regression target's value (B, 1)."""
        return self._output(self._predictions, images)

    def _output(self, name: str, images: Tensor) -> Tensor:
        return torch.from_numpy(self.run(name, np.ascontiguousarray(images.cpu().numpy())))
