"""ONNX Runtime: a network of a file as a module like any other, and as a plain function."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from src.errors import InputError, require
from src.exported.card import Card, dress
from src.exported.plain import output_names

# It pools whole numbers, outside the layout of convolutions: 26 ms for 256 images where float32 takes 0.1 ms.
HARMFUL = ["QDQPropagationTransformer"]


def make_session(content: bytes, threads: int = 1):
    """An onnxruntime.InferenceSession on the CPU with so many threads, none of which waits in a loop for work."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # what is worse than an error; errors are raised
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"], disabled_optimizers=HARMFUL)


class OnnxNet(nn.Module):
    """Raw grey levels uint8 (B, C, H, W) in, logits (B, K) out, as `src.checkpoint.Recogniser`, from a checked file.

    content: the file; threads: of ONNX Runtime, None takes as many as torch. Has all that a Recogniser has but weights.
    Raises InputError if ONNX Runtime refuses the file, or it does not compute what its card says.
    """

    engine = "onnxruntime"

    def __init__(self, content: bytes, card: Card, path: Path | str, threads: int | None = None):
        super().__init__()
        dress(self, card, content, path)
        self.content = content
        self.first, self.second = output_names(card.facts)
        try:
            self.session = make_session(content, threads or torch.get_num_threads())
            for count in (1, 3):
                answers = self.session.run(None, {"images": np.zeros((count, *card.facts.shape), np.uint8)})
                wanted = (count, card.facts.num_classes)
                good = all(a.shape == wanted and a.dtype == np.float32 and np.isfinite(a).all() for a in answers)
                require(good, f"ckpt={path}: its answers are not {wanted} finite numbers")
        except InputError:
            raise
        except Exception as error:  # ONNX Runtime has a class per kind of failure, none of them public
            raise InputError(f"ckpt={path} is no network that ONNX Runtime takes ({_line(error)})") from None

    def forward(self, images: Tensor) -> Tensor:
        return self._run(self.second, images)

    def probs(self, images: Tensor) -> Tensor:
        """Calibrated probabilities (B, K) of raw grey levels (B, C, H, W)."""
        return self._run(self.first, images)

    def _run(self, name: str, images: Tensor) -> Tensor:
        given = np.ascontiguousarray(images.cpu().numpy())
        return torch.from_numpy(self.session.run([name], {"images": given})[0])


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
