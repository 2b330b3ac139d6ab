"""The interface of a loaded network, whether PyTorch or ONNX Runtime computes it."""

from typing import Any, Protocol, Self

from torch import Tensor

from src.data.info import DataInfo


class Predictor(Protocol):
    """A trained network that takes raw grey levels (B, C, H, W) and returns logits (B, K).

    `src.inference.model.InferenceModel` and `src.model_files.onnxruntime.OnnxNet` implement it; only the first has
    weights, so only it can be explained, compressed or trained further (`src.model_files.load.require_weights`).

    info: of the training data. config: of the training. epoch: the one, counted from 1, whose weights these are.
    file, digest: path and SHA-256 of the file it was loaded from.
    views: copies of each image that are averaged, 1 or 5 (`src.inference.tta`).
    temperature: divisor of the logits (`src.evaluation.calibration`); None if it was not fitted.
    engine: torch or onnxruntime.
    """

    info: DataInfo
    config: dict[str, Any]
    epoch: int
    file: str
    digest: str
    views: int
    temperature: float | None
    engine: str

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, K) of raw grey levels (B, C, H, W)."""

    def probs(self, images: Tensor) -> Tensor:
        """Calibrated probabilities (B, K) of raw grey levels (B, C, H, W); a regression target's value (B, 1)."""

    def to(self, device: str) -> Self:
        """Move the weights, if there are any, to a device; returns the network itself."""

    def eval(self) -> Self:
        """Switch to eval mode; returns the network itself."""
