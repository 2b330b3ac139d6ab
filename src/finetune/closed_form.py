"""Heads that are solved for, from the features of the training images, without gradients."""

import torch
from torch import Tensor, nn

from src.data.datamodule import ImageData
from src.errors import InputError, is_number, require
from src.finetune.method import Head
from src.models.structure import head_of, read_features


class ClosedForm(Head):
    """What the solved heads share: features are collected over an epoch, and the head is set at its end."""

    closed_form = True

    def __init__(self, cached_passes: int | None = None):
        super().__init__(cached_passes=cached_passes)
        self._features: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._start: tuple[Tensor, Tensor] | None = None
        self.images = 0

    def adapt(self, model: nn.Module, shape: tuple[int, int, int], fresh_head: bool = False) -> nn.Module:
        head = head_of(super().adapt(model, shape, fresh_head))[1]
        self._start = head.weight.detach().clone(), head.bias.detach().clone()
        return model

    def begin_epoch(self, model: nn.Module, data: ImageData, epoch: int, epochs: int, mixed: bool) -> None:
        """Every epoch is solved for on its own, so that a resumed run ends as one that was never stopped."""
        super().begin_epoch(model, data, epoch, epochs, mixed)
        self._features.clear()
        self._labels.clear()
        self.images = len(data.train_set)

    def collect(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        """Keep what the head reads of a batch, of images or of features (B, D)."""
        features = images if images.ndim == 2 else read_features(model, [(images, labels)])[0]
        self._features.append(features.detach().float())
        self._labels.append(labels)

    @torch.no_grad()
    def finish(self, model: nn.Module) -> None:
        """Set the head from what the epoch collected."""
        head, features, labels = head_of(model)[1], torch.cat(self._features).double(), torch.cat(self._labels)
        weight, bias = self.solve(features, nn.functional.one_hot(labels, head.out_features).double())
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

    def solve(self, features: Tensor, onehot: Tensor) -> tuple[Tensor, Tensor]:
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

    strength: of the pull to the old head, in images: it weighs as much as so many; how often an image is used again
    does not matter.
    """

    def __init__(self, strength: float = 100.0, **shared):
        super().__init__(**shared)
        require(is_number(strength) and strength > 0, f"finetune.strength={strength}: above 0")
        self.strength = strength

    def solve(self, features: Tensor, onehot: Tensor) -> tuple[Tensor, Tensor]:
        """The old head answers in logits, the targets are 0 and 1 (around 1/K): both are brought to one scale."""
        count, classes = onehot.shape
        inputs = torch.cat([features, features.new_ones(count, 1)], 1)
        old = torch.cat([self._start[0], self._start[1].unsqueeze(1)], 1).to(inputs)
        targets = (onehot - 1 / classes) * classes
        start = torch.zeros_like(old) if self.fresh_head else old - old.mean(0)
        answers = inputs @ start.T
        size = (answers * targets).sum() / answers.square().sum().clamp_min(1e-12)  # the scale that fits best
        start = start * size.clamp_min(0)
        pull = self.strength * features.square().mean() * count / (self.images or count)
        gram = inputs.T @ inputs
        gram += pull * torch.eye(len(gram)).to(gram)
        right = (targets - inputs @ start.T).T @ inputs
        solved = start + torch.linalg.solve(gram, right.T).T
        # Answers to images that a head was solved from are too sure: the scale is fitted to those left out one by one.
        own = (inputs * torch.linalg.solve(gram, inputs.T).T).sum(1, keepdim=True)
        fitted = inputs @ solved.T
        left_out = (fitted - own * targets) / (1 - own).clamp_min(1e-3)
        labels = onehot.argmax(1)
        scales = torch.logspace(-2, 2, 41).to(inputs)
        losses = torch.stack([nn.functional.cross_entropy(left_out * scale, labels) for scale in scales])
        solved = solved * scales[losses.argmin()]
        return solved[:, :-1], solved[:, -1]
