"""A trained network as one module: raw grey levels in, logits out."""

from torch import Tensor, nn

from src.data.info import DataInfo
from src.data.normalize import Normalize
from src.inference.tta import average_views, tta_views


class InferenceModel(nn.Module):
    """Raw grey levels (B, C, H, W) in, logits (B, K) out: normalisation and network as one module.

    info: of the training data. config: of the training. epoch: the one, counted from 1, whose weights these are.
    file, digest: path and SHA-256 of the file it was loaded from. complete: whether that file holds all weights, not
    only changes to a base.
    views: copies of each image that are averaged, 1 or 5 (`src.inference.tta`).
    temperature: divisor of the logits (`src.evaluation.calibration`); None if it was not fitted.
    engine: what computes it.
    """

    engine = "torch"
    temperature: float | None = None

    def __init__(self, model: nn.Module, info: DataInfo, config: dict, digest: str = "", epoch: int = 0):
        super().__init__()
        self.normalize, self.model = Normalize(info.mean, info.std), model
        self.info, self.config, self.digest, self.epoch = info, config, digest, epoch
        self.file, self.complete = "", True
        self.views = config.get("views", 1)

    def forward(self, images: Tensor) -> Tensor:
        if self.views == 1:
            return self.model(self.normalize(images))
        return average_views(self.model(self.normalize(tta_views(images))))

    def probs(self, images: Tensor) -> Tensor:
        """Calibrated probabilities (B, K) of raw grey levels (B, C, H, W); a regression target's value (B, 1)."""
        return self.info.output.predictions(self(images), self.temperature)
