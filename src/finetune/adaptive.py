"""Fine-tuning that moves as far from its start as the labelled images ask for."""

import logging
import math

import torch
from torch import Tensor, nn

from src.data.datamodule import ImageData
from src.errors import InputError, number
from src.finetune.closed_form import SolvedHead, solve_new_head
from src.finetune.l2sp import L2SP
from src.finetune.method import SourceModel
from src.models.structure import extract_features, find_head, predict_logits

log = logging.getLogger(__name__)
MOST_IMAGES = 1000  # labelled images that are read; more of them, evenly spaced ones
LEAST = 0.01  # of the share that is left: a start without fault is not held harder than this


class Adaptive(L2SP):
    """Every weight trains, pulled towards its initial value as strongly as the start already fits the labelled images.

    Before the first step the start is measured once: `left` is the mean loss that it leaves of the loss of guessing,
    0 to 1. The pull is alpha = strength (1 / left^2 - 1) / (images per class), and the rate grows from optimizer.lr
    to `reach` times it as `left` grows to 1: a start that fits is held, one of no use is left fast.

    A head that is kept is measured on the labelled images, which it has not seen. A new head is first solved in closed
    form (`solve_new_head`) and then pulled like the rest; it is measured by the loss of each image under the head that
    was solved without it, and by how unsure the source is of the images, in their geometric mean. Where a class has
    one image, the second stands alone. Above `start_fresh` the solved head is dropped for a random one.

    strength: of the pull. reach: a multiple of the rate. start_fresh: a share as above.
    """

    def __init__(self, strength: float = 2e-3, reach: float = 3.0, start_fresh: float = 0.5, **options):
        super().__init__(alpha=0.0, beta=0.0, **options)
        self.strength = number("finetune.strength", strength, least=0)
        self.reach = number("finetune.reach", reach, least=1)
        self.start_fresh = number("finetune.start_fresh", start_fresh, least=0, most=1)
        self.rate = 1.0

    def prepare(self, model: nn.Module, data: ImageData, source: SourceModel | None, device: torch.device) -> None:
        images, labels = _labelled_images(data)
        where = next(model.parameters()).device
        model.to(device)
        try:
            left = self._measure(model, data, source, images.to(device), labels.to(device))
        finally:
            model.to(where)
        self._initial = [p.detach().clone() for p in model.parameters()]  # a head that was solved is held, too
        left = max(left, LEAST)
        per_class = len(data.train_set) / len(data.info.class_names)
        self.alpha = self.strength * (left**-2 - 1) / max(1.0, per_class)
        self.rate = 1 + (self.reach - 1) * left
        self.choice |= {"left": left, "alpha": self.alpha, "rate": self.rate, "images": len(labels)}
        log.info("finetune: %s: alpha %.3g, %.2f times optimizer.lr", self.choice["start"], self.alpha, self.rate)

    def parameter_groups(self, model: nn.Module, lr: float, weight_decay: float) -> list[dict]:
        return super().parameter_groups(model, lr * self.rate, weight_decay)

    def _measure(
        self, model: nn.Module, data: ImageData, source: SourceModel | None, images: Tensor, labels: Tensor
    ) -> float:
        """The share of the loss of guessing that the start leaves; solves a new head, and says in `choice` what it saw.

        images: (N, C, H, W), normalized; labels: (N,); on the model's device.
        """
        count = f"{len(labels):,} labelled image{'s' * (len(labels) != 1)}"
        if not self.fresh_head or data.train_set.tasks is not None:
            left = _share(data, predict_logits(model, images), labels)
            self.choice["start"] = f"on {count} the source leaves {100 * left:.1f} % of the loss of guessing"
            return left
        measures = []
        if source is not None and not source.info.output.is_number:
            logits = predict_logits(source.model.to(images.device), images)
            measures.append(("the source's uncertainty of them", _entropy(logits / (source.temperature or 1.0))))
        solved = _solved_head(model, data, images, labels)
        if solved is not None and solved.left_out is not None:
            measures.append(
                (
                    "of the loss of guessing each keeps under a head solved without it:",
                    _share(data, solved.left_out, labels),
                )
            )
        left = math.prod(value for _, value in measures) ** (1 / len(measures)) if measures else self.start_fresh
        use = solved is not None and left <= self.start_fresh
        if use:
            solved.set(find_head(model)[1])
            self.fresh_head = False
        seen = ", ".join(f"{text} {100 * value:.1f} %" for text, value in measures) or "nothing to measure it by"
        self.choice["start"] = f"a new head, {'solved from' if use else 'random, for'} {count} ({seen})"
        return left


def _labelled_images(data: ImageData) -> tuple[Tensor, Tensor]:
    """Normalized training images (N, C, H, W) and their labels (N,), at most MOST_IMAGES; of tasks, of the first."""
    rows = torch.arange(len(data.train_set))
    rows = rows[data.train_set.task_of_each == 0]
    if len(rows) > MOST_IMAGES:
        rows = rows[torch.linspace(0, len(rows) - 1, MOST_IMAGES).round().long()]
    images, labels = data.train_set[rows]
    return data.normalize(images), labels


def _solved_head(model: nn.Module, data: ImageData, images: Tensor, labels: Tensor) -> SolvedHead | None:
    """None for a network whose outputs are not those of a linear layer with a bias."""
    if find_head(model)[1].bias is None:
        return None
    try:
        features = extract_features(model, zip(images.split(256), labels.split(256), strict=True))[0]
    except InputError:
        return None
    return solve_new_head(features.cpu(), labels.cpu(), data.info.num_classes, data.info.output.is_number)


def _share(data: ImageData, outputs: Tensor, labels: Tensor) -> float:
    """The mean loss of outputs (N, K) as a share, 0 to 1, of the loss of the best constant output.

    Each image counts with at most the loss of guessing, so that a few wrong labels do not decide.
    """
    if data.info.output.is_number:
        guess = labels.var(unbiased=False)
    else:
        counts = labels.bincount(minlength=outputs.shape[1]) + 1.0  # one more each: a single class is no certainty
        shares = counts / counts.sum()
        guess = -(shares * shares.log()).sum()
    guess = guess.clamp_min(1e-6)
    losses = data.info.output.loss(outputs.float(), labels, "none")
    return float((losses.minimum(guess).mean() / guess).clamp(0, 1))


def _entropy(logits: Tensor) -> float:
    """Mean entropy of the probabilities of logits (N, K), as a share of the largest, 0 to 1."""
    probabilities = logits.softmax(1)
    entropies = -(probabilities * probabilities.clamp_min(1e-12).log()).sum(1)
    return float(entropies.mean()) / math.log(max(2, logits.shape[1]))
