"""A trained network as one module: raw grey levels in, logits out."""

from torch import Tensor, nn

from src.data.info import DataInfo
from src.data.normalize import Normalize
from src.inference.tta import average_views, tta_views


class InferenceModel(nn.Module):
    """Raw grey levels (B, C, H, W) in, logits (B, K) out: normalisation and network as one module.

    A `src.inference.predictor.Predictor`, which describes the attributes. complete: whether the file holds all weights,
    not only changes to a base.
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
