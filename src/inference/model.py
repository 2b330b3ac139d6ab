"""A loaded network, whether PyTorch or ONNX Runtime computes it: raw grey levels in, logits out."""

from typing import Any, Protocol, Self

from torch import Tensor, nn

from src.data.info import DataInfo
from src.data.normalize import Normalize
from src.data.seen_images import SeenImages
from src.inference.tta import average_views, tta_views
from src.models.memory_format import set_memory_format


class Predictor(Protocol):
    """A trained network that takes raw grey levels (B, C, H, W) and returns logits (B, K).

    `InferenceModel` and `src.model_files.onnxruntime.OnnxNet` implement it; only the first has
    weights, so only it can be explained, compressed or trained further (`src.model_files.load.require_weights`).

    info: of the training data. config: of the training. epoch: the one, counted from 1, whose weights these are.
    file, digest: path and SHA-256 of the file it was loaded from.
    views: copies of each image that are averaged, 1 or 5 (`src.inference.tta`).
    temperature: divisor of the logits (`src.evaluation.calibration`); None if it was not fitted.
    seen: the pictures it was trained on and chosen by (`src.data.seen_images`); None if the file does not say.
    engine: torch or onnxruntime.
    """

    info: DataInfo
    config: dict[str, Any]
    epoch: int
    file: str
    digest: str
    views: int
    temperature: float | None
    seen: SeenImages | None
    engine: str

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (B, K) of raw grey levels (B, C, H, W)."""

    def probs(self, images: Tensor) -> Tensor:
        """Calibrated probabilities (B, K) of raw grey levels (B, C, H, W); a regression target's value (B, 1)."""

    def to(self, device: str) -> Self:
        """Move the weights, if any, to a device; returns itself."""

    def eval(self) -> Self:
        """Switch to eval mode; returns itself."""


class InferenceModel(nn.Module):
    """A Predictor computed by PyTorch: normalisation and network as one module.

    complete: whether the file holds all weights,
    not only changes to a base.
    """

    engine = "torch"
    temperature: float | None = None
    seen: SeenImages | None = None

    def __init__(self, model: nn.Module, info: DataInfo, config: dict, digest: str = "", epoch: int = 0):
        super().__init__()
        self.normalize, self.model = Normalize(info.mean, info.std), model
        self.info, self.config, self.digest, self.epoch = info, config, digest, epoch
        self.file, self.complete = "", True
        self.views = config.get("views", 1)
        set_memory_format(model, info.shape)

    def forward(self, images: Tensor) -> Tensor:
        if self.views == 1:
            return self.model(self.normalize(images))
        return average_views(self.model(self.normalize(tta_views(images))))

    def probs(self, images: Tensor) -> Tensor:
        """As of `Predictor`."""
        return self.info.output.predictions(self(images), self.temperature)
