"""Distillation: a loss that teaches a network the predictions of a trained one of any architecture."""

import logging
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from src.data.info import DataInfo
from src.errors import InputError, fraction, number
from src.files import OUTPUTS
from src.inference.model import Predictor
from src.model_files.load import load_predictor
from src.model_files.locate import find_checkpoint
from src.training.losses import CrossEntropy

log = logging.getLogger(__name__)


class Distill(CrossEntropy):
    """Cross-entropy with the labels and with a teacher's softened predictions (Hinton et al. 2015, arXiv:1503.02531).

    (1 - weight) CE(labels) + weight T² KL(teacher / T, student / T), T the temperature. The teacher sees the same
    images as the student, augmented and mixed, through its own normalization, deslanting and views.
    teacher: a run's folder or a file; the checkpoint does not include it. weight: of its predictions, 0 to 1.
    Raises InputError for a teacher that is missing, or estimates a number.
    """

    wants_images = True

    def __init__(self, teacher: str | None = None, temperature: float = 4.0, weight: float = 0.9, **shared):
        super().__init__(**shared)
        number("loss.temperature", temperature, above=0)
        fraction("loss.weight", weight)
        self.temperature, self.share = temperature, weight
        net = load_predictor(find_checkpoint(teacher, OUTPUTS, key="loss.teacher")).requires_grad_(False)
        net.info.output.require_classes(f"loss.teacher={teacher}", "give a teacher that predicts classes")
        self._net = [net]  # in a list, so as not to be saved
        self._to_grey_levels: list[Tensor] = []  # scale and offset, on the device of the images
        self.seconds = 0.0  # spent by the teacher

    @property
    def net(self) -> Predictor:
        """The teacher."""
        return self._net[0]

    def check(self, info: DataInfo) -> None:
        """Raise InputError unless the teacher reads images of `info` and knows their classes, in the same order."""
        theirs = self.net.info
        if theirs.shape != info.shape:
            ours, other = ("x".join(map(str, shape)) for shape in (info.shape, theirs.shape))
            raise InputError(f"loss.teacher reads images of {other} (channels, height, width), the data have {ours}")
        if theirs.class_names != info.class_names:
            ours, other = (", ".join(names[:12]) for names in (info.class_names, theirs.class_names))
            raise InputError(f"loss.teacher knows the classes {other}; these are {ours}: give a teacher of the same")

    def forward(  # type: ignore[override]  # `wants_images` says so
        self, logits: Tensor, targets: Tensor, images: Tensor, info: DataInfo
    ) -> Tensor:
        """images: the student's input, (B, C, H, W), normalized by `info`."""
        if images.ndim == 2:
            raise InputError(
                "loss.teacher needs images, and this method caches features: give finetune.cached_passes=0"
            )
        soft = logits.float() / self.temperature
        kl = F.kl_div(soft.log_softmax(1), self.teacher_log_probs(images, info), reduction="batchmean", log_target=True)
        hard = super().forward(logits, targets) if self.share < 1 else 0.0
        return (1 - self.share) * hard + self.share * self.temperature**2 * kl

    @torch.no_grad()
    def teacher_log_probs(self, images: Tensor, info: DataInfo) -> Tensor:
        """The teacher's log-probabilities at the temperature, (B, K)."""
        begun = time.perf_counter()
        if not self._to_grey_levels or self._to_grey_levels[0].device != images.device:
            self.check(info)
            std, mean = (torch.tensor(values, device=images.device) for values in (info.std, info.mean))
            self._to_grey_levels = [(255 * values).view(1, -1, 1, 1) for values in (std, mean)]
            self.net.to(str(images.device))
        scale, offset = self._to_grey_levels
        logits = self.net.eval()(images.float() * scale + offset)
        self.seconds += time.perf_counter() - begun
        return (logits.float() / self.temperature).log_softmax(1)
