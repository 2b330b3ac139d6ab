"""Heads that are solved for, from the features of the training images, without gradients."""

import torch
from torch import Tensor, nn

from src.errors import InputError, is_number, require
from src.finetune.method import Head
from src.finetune.parts import head_of, read_features


class ClosedForm(Head):
    """What the solved heads share: features are collected over an epoch, and the head is set at its end."""

    closed_form = True

    def __init__(self, cached_passes: int | None = None):
        super().__init__(cached_passes=cached_passes)
        self._features: list[Tensor] = []
        self._labels: list[Tensor] = []

    def collect(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        """Keep what the head reads of a batch, of images or of features (B, D). What more epochs collect, of other
        augmentations, is added to it."""
        features = images if images.ndim == 2 else read_features(model, [(images, labels)])[0]
        self._features.append(features.detach().float())
        self._labels.append(labels)

    @torch.no_grad()
    def finish(self, model: nn.Module) -> None:
        """Set the head from everything collected."""
        head, features, labels = head_of(model)[1], torch.cat(self._features).double(), torch.cat(self._labels)
        weight, bias = self.solve(features, nn.functional.one_hot(labels, head.out_features).double(), head)
        head.weight.copy_(weight)
        head.bias.copy_(bias)

    def check(self, model: nn.Module) -> None:
        if head_of(model)[1].bias is None:
            raise InputError("this network's head has no bias: a head that is solved for needs one")


class Prototype(ClosedForm):
    """The nearest class mean in feature space (Snell et al. 2017, arXiv:1703.05175), which is a linear head.

    temperature: of the probabilities, in units of the mean squared distance of an image to its class' mean.
    """

    def __init__(self, temperature: float = 1.0, **shared):
        super().__init__(**shared)
        require(is_number(temperature) and temperature > 0, f"finetune.temperature={temperature}: above 0")
        self.temperature = temperature

    def solve(self, features: Tensor, onehot: Tensor, head: nn.Linear) -> tuple[Tensor, Tensor]:
        """-|x - mean|^2 up to what all classes share: weight 2 mean, bias -|mean|^2, over a scale."""
        counts = onehot.sum(0).unsqueeze(1)
        if bool((counts == 0).any()):
            raise InputError("finetune=prototype: a class has no training images")
        means = onehot.T @ features / counts
        inside = (features - onehot @ means).square().sum(1).mean()
        between = (means - means.mean(0)).square().sum(1).mean()
        scale = self.temperature * torch.where(inside > 1e-6 * between, inside, between).clamp_min(1e-12)
        return 2 * means / scale, -means.square().sum(1) / scale


class Ridge(ClosedForm):
    """Least squares from features to classes, drawn to the head there is (Hoerl & Kennard 1970; as a last layer,
    Bertinetto et al. 2019, arXiv:1805.08136).

    strength: of the pull, in units of the features' mean squared norm; more keeps more of the old head.
    """

    def __init__(self, strength: float = 1.0, **shared):
        super().__init__(**shared)
        require(is_number(strength) and strength > 0, f"finetune.strength={strength}: above 0")
        self.strength = strength

    def solve(self, features: Tensor, onehot: Tensor, head: nn.Linear) -> tuple[Tensor, Tensor]:
        """The old head answers in logits, the targets are 0 and 1 (around 1/K): both are brought to one scale."""
        count, classes = onehot.shape
        inputs = torch.cat([features, features.new_ones(count, 1)], 1)
        old = torch.cat([head.weight, head.bias.unsqueeze(1)], 1).double()
        targets = (onehot - 1 / classes) * classes
        start = torch.zeros_like(old) if self.fresh_head else old - old.mean(0)
        answers = inputs @ start.T
        size = (answers * targets).sum() / answers.square().sum().clamp_min(1e-12)  # the scale that fits best
        start = start * size.clamp_min(0)
        gram = inputs.T @ inputs
        pull = self.strength * features.square().sum(1).mean()
        right = (targets - inputs @ start.T).T @ inputs
        change = torch.linalg.solve(gram + pull * torch.eye(len(gram), dtype=gram.dtype, device=gram.device), right.T).T
        solved = start + change
        # Probabilities want a scale: the old head's where there is one, else logits that are certain at distance 1.
        scale = 1 / size if not self.fresh_head and size > 1e-6 else solved.new_tensor(1.0)
        solved = solved * scale
        return solved[:, :-1], solved[:, -1]
