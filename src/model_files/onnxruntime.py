"""ONNX Runtime: a network of a file as a module like any other, and as a plain function."""

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from src.errors import InputError, require
from src.model_files.metadata import Metadata, attach_metadata
from src.model_files.tracing import INPUT, output_names

# It pools whole numbers, outside the layout of convolutions: 26 ms for 256 images where float32 takes 0.1 ms.
HARMFUL = ["QDQPropagationTransformer"]

# Between two layers; without waiting two threads lose a seventh, and endless waiting takes the core from others.
SPIN_US = "100"
# Images that one thread takes through a convolutional network together: their values stay in the core's cache. LeNet-5
# reads 77,000 a second so, 67,000 where 256 go together; fully connected networks are the faster the more there are.
AT_ONCE = 16
CONV = b'"\x04Conv'  # a node's operator as it stands in a file


def make_session(content: bytes, threads: int = 1):
    """An onnxruntime.InferenceSession on the CPU with so many threads, which wait in a loop for SPIN_US only."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # what is worse than an error; errors are raised
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN_US)
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"], disabled_optimizers=HARMFUL)


class Runner:
    """An output of a file by its name, of grey levels uint8 (B, C, H, W); safe to call from several threads.

    threads: that work together on a few images; of many images, each takes a share through a convolutional network by
    itself, so that none waits for another between two layers.
    """

    def __init__(self, content: bytes, threads: int = 1):
        self.content, self.threads = content, threads
        self.session = make_session(content, threads)
        self.part = AT_ONCE if CONV in content else 1 << 20

    def __call__(self, name: str, images: np.ndarray) -> np.ndarray:
        if len(images) <= self.part:
            return self.session.run([name], {INPUT: images})[0]
        share = -(-len(images) // self.threads)
        shares = [images[start : start + share] for start in range(0, len(images), share)]
        others = [self._pool.submit(self._alone, name, images) for images in shares[1:]]
        parts = self._alone(name, shares[0])
        return np.concatenate([*parts, *(part for other in others for part in other.result())])

    def _alone(self, name: str, images: np.ndarray) -> list[np.ndarray]:
        starts = range(0, len(images), self.part)
        return [self._single.run([name], {INPUT: images[start : start + self.part]})[0] for start in starts]

    @cached_property
    def _single(self):
        return self.session if self.threads == 1 else make_session(self.content)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.threads - 1)


class OnnxNet(nn.Module):
    """Raw grey levels uint8 (B, C, H, W) in, logits (B, K) out, as an `InferenceModel`, from a checked file.

    content: the file; threads: of ONNX Runtime, None takes as many as torch. Has all that a Recogniser has but weights.
    Raises InputError if ONNX Runtime refuses the file, or it does not compute what its card says.
    """

    engine = "onnxruntime"

    def __init__(self, content: bytes, card: Metadata, path: Path | str, threads: int | None = None):
        super().__init__()
        attach_metadata(self, card, content, path)
        self.content = content
        self.first, self.second = output_names(card.info)
        try:
            self.run = Runner(content, threads or torch.get_num_threads())
            for count in (1, 3):
                blank = np.zeros((count, *card.info.shape), np.uint8)
                answers = [self.run(name, blank) for name in (self.first, self.second)]
                wanted = (count, card.info.num_classes)
                good = all(a.shape == wanted and a.dtype == np.float32 and np.isfinite(a).all() for a in answers)
                require(good, f"ckpt={path}: its answers are not {wanted} finite numbers")
        except InputError:
            raise
        except Exception as error:  # ONNX Runtime has a class per kind of failure, none of them public
            raise InputError(f"ckpt={path} is no network that ONNX Runtime takes ({_line(error)})") from None

    def forward(self, images: Tensor) -> Tensor:
        return self._answer(self.second, images)

    def probs(self, images: Tensor) -> Tensor:
        """Calibrated probabilities (B, K) of raw grey levels (B, C, H, W)."""
        return self._answer(self.first, images)

    def _answer(self, name: str, images: Tensor) -> Tensor:
        return torch.from_numpy(self.run(name, np.ascontiguousarray(images.cpu().numpy())))


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
