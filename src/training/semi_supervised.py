"""Training on images with labels and, beside them, on images without."""

import torch
import torch.nn.functional as F
from torch import Tensor

from src.data.batches import BatchDataset, derive_seed
from src.errors import fraction, number, positive_int, require
from src.finetune.closed_form import ClosedForm
from src.training.initialize import InitialModel
from src.training.task import Classifier
from src.training.trainer_state import data_of

MOMENTUM = 0.99  # of the running mean of the predicted probabilities
STREAM = 20  # of the draws, apart from those of augmentation


class SemiSupervised(Classifier):
    """A classifier that also learns from its own sure predictions of unlabelled images (FixMatch, Sohn et al. 2020,
    arXiv:2001.07685).

    In each step the network predicts `batch_size` unlabelled images as they are; where the probability of a class is
    `sure` or more, it is trained to give that class for an augmented copy. Predictions are first divided by their
    running mean (distribution alignment, Berthelot et al. 2020, arXiv:1911.09785), to the power `left`: the share of
    the loss of guessing that the start left on the labelled images (`src.finetune.adaptive`). A start that fits them is
    believed from the first step, and as it stands; others after a share left / 2 of all steps, and aligned to classes
    of equal size. Without such a measure, `left` is 0.5.

    images: without labels. weight: of their loss beside that of the labelled. The others as of Classifier.
    """

    def __init__(
        self, *parts, images: BatchDataset, batch_size: int = 96, sure: float = 0.95, weight: float = 1.0, **options
    ):
        super().__init__(*parts, **options)
        self.images, self.batch_size, self.sure, self.weight = images, batch_size, sure, weight
        self.mean = torch.full((self.info.num_classes,), 1 / self.info.num_classes)
        self.sure_sum = torch.zeros(2)  # over the epoch's steps: the share of images that were sure, and 1 for each

    @property
    def left(self) -> float:
        """The share of the loss of guessing that the start left on the labelled images, 0 to 1."""
        return float(self.method.choice.get("left", 0.5)) if self.method else 0.5

    def compute_loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        loss, logits = super().compute_loss(images, labels)
        if self.global_step < self.left / 2 * self._total_steps:
            return loss, logits
        return loss + self.weight * self._pseudo_label_loss(), logits

    def _pseudo_label_loss(self) -> Tensor:
        data, trainer = data_of(self.trainer), self.trainer
        step = trainer.fit_loop.epoch_loop.batch_progress.current.ready
        generator = torch.Generator().manual_seed(
            derive_seed(self.seed, STREAM, self.current_epoch, step, self.global_rank)
        )
        rows = torch.randint(len(self.images), (self.batch_size,), generator=generator)
        raw = self.images[rows][0].to(self.device)
        with torch.no_grad():
            outputs = self.model(trainer.precision_plugin.convert_input(data.normalize(raw)))
            probabilities = outputs.float().softmax(1)
            share = trainer.strategy.reduce(probabilities.mean(0), reduce_op="mean")
            self.mean = (MOMENTUM * self.mean.to(share)).add(share, alpha=1 - MOMENTUM)
            aligned = probabilities * self.mean.clamp_min(1e-6).pow(-self.left)
            confidence, classes = (aligned / aligned.sum(1, keepdim=True)).max(1)
            sure = (confidence >= self.sure).float()
            self.sure_sum = self.sure_sum.to(sure) + torch.stack([sure.mean(), sure.new_ones(())])
        augmented = data.seeded_augment(raw, STREAM, self.current_epoch, step, self.global_rank)
        outputs = self.model(trainer.precision_plugin.convert_input(data.normalize(augmented)))
        return (F.cross_entropy(outputs, classes, reduction="none") * sure).mean()

    def finish_epoch(self) -> None:
        total, steps = self.sure_sum.tolist()
        if steps:
            self.latest["train/sure"] = total / steps
            self.log_dict({"train/sure": total / steps}, on_step=False, on_epoch=True, batch_size=1)
            self.sure_sum = torch.zeros(2)
        super().finish_epoch()

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["unlabelled"] = {"mean": self.mean.cpu(), "sure_sum": self.sure_sum.cpu()}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        super().on_load_checkpoint(checkpoint)
        self.mean, self.sure_sum = (checkpoint["unlabelled"][name] for name in ("mean", "sure_sum"))


def unlabelled_options(images: BatchDataset | None, options: dict, initial: InitialModel, tasks: bool) -> dict:
    """What `SemiSupervised` takes beside the parts of Classifier; nothing without images that have no labels.

    options: conf's `unlabelled`. tasks: whether the data arrive in tasks.
    Raises InputError where images without labels cannot train.
    """
    positive_int("unlabelled.batch_size", options["batch_size"])
    fraction("unlabelled.sure", options["sure"])
    number("unlabelled.weight", options["weight"], above=0)
    if images is None:
        return {}
    initial.info.output.require_classes("data.unlabelled", "leave it out")
    require(not tasks, "data.unlabelled: data that arrive in tasks train with their labels; leave one of them out")
    closed = isinstance(initial.method, ClosedForm)
    require(not closed, "data.unlabelled: a head that is solved for takes no steps; give another finetune=")
    return {**options, "images": images}
