"""A trained network as one module: raw grey levels in, logits out."""

from torch import Tensor, nn

from src.data.info import DataInfo
from src.data.normalize import Normalize
from src.inference.tta import average_views, tta_views


class InferenceModel(nn.Module):
    """Raw grey levels (B, C, H, W) in, logits (B, K) out: normalisation and network as one module.

    info: of the data it was trained on; config: of its training; epoch: counted from 1, after which it was saved.
    file, digest: it came from; complete: whether that file holds every weight, and not only changes to a base.
    views: looks at each image whose mean is the answer, 1 or 5 (`src.inference.tta`).
    temperature: what logits are divided by for probabilities (`src.evaluation.calibration`); None: not fitted.
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
        """Calibrated probabilities (B, K) of raw grey levels (B, C, H, W); for a regression target, its value (B, 1)."""
        return to_predictions(self(images), self.info, self.temperature)


def to_predictions(logits: Tensor, info: DataInfo, temperature: float | None) -> Tensor:
    """Calibrated probabilities (B, K) of logits; for a regression target, its value in its unit (B, 1)."""
    if info.target:
        return logits * info.scale
    return (logits / (temperature or 1.0)).softmax(1)
