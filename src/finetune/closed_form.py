"""Heads that are solved for from the features of the training images, without gradients."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from src.data.datamodule import ImageData
from src.errors import InputError, number, require
from src.finetune.method import Head
from src.models.structure import extract_features, find_head

STRENGTHS = torch.logspace(-2, 2, 17, dtype=torch.float64)
LEFT_OUT_SCALES = torch.logspace(-1, 2, 61, dtype=torch.float64)
NO_LEFT_OUT_SCALE = 10.0  # of the logits where no image can be left out


class ClosedForm(Head):
    """A head that is set at the end of each epoch, from the features that `collect` gathered in it."""

    def __init__(self, cached_passes: int | None = None):
        super().__init__(cached_passes=cached_passes)
        self._batches: list[tuple[Tensor, Tensor]] = []  # features and labels
        self._initial_head = torch.empty(0)  # weight and bias (K, D + 1), set by adapt
        self.num_images = 0

    def adapt(self, model: nn.Module, shape: tuple[int, int, int], fresh_head: bool = False) -> nn.Module:
        head = find_head(super().adapt(model, shape, fresh_head))[1]
        self._initial_head = torch.cat([head.weight, head.bias.unsqueeze(1)], 1).detach()
        return model

    def check_model(self, model: nn.Module) -> None:
        require(find_head(model)[1].bias is not None, "this network's head has no bias: a closed-form head needs one")

    def on_epoch_start(self, model: nn.Module, data: ImageData, epoch: int, epochs: int, mixed: bool) -> None:
        """Each epoch is solved on its own, so that a resumed run ends like an uninterrupted one."""
        super().on_epoch_start(model, data, epoch, epochs, mixed)
        self._batches.clear()
        self.num_images = len(data.train_set)

    def collect(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        """Gather the features of a batch; images: (B, C, H, W), or features (B, D)."""
        features = images if images.ndim == 2 else extract_features(model, [(images, labels)])[0]
        self._batches.append((features.detach().float(), labels))

    @torch.no_grad()
    def on_epoch_end(self, model: nn.Module) -> None:
        """Set the head from the features of the epoch."""
        head, (features, labels) = find_head(model)[1], map(torch.cat, zip(*self._batches, strict=True))
        weight, bias = self.solve(features.double(), nn.functional.one_hot(labels, head.out_features).double())
        head.weight.copy_(weight)
        head.bias.copy_(bias)

    def solve(self, features: Tensor, onehot: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (K, D) and bias (K,) of the head, from features (N, D) and labels (N, K), all float64."""
        raise NotImplementedError


def nearest_mean_head(features: Tensor, onehot: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Weight (K, F) and bias (K,) of the linear head whose logit is -|x - mean of the class|^2, up to a term that all
    classes share: 2 mean and -|mean|^2, both over a scale.

    features (N, F), onehot (N, K). temperature: of the probabilities, in units of the mean squared distance of an image
    to the mean of its class. A class without images has its mean at the origin.
    """
    counts = onehot.sum(0).unsqueeze(1)
    means = onehot.T @ features / counts.clamp_min(1)
    present = means[counts[:, 0] > 0]
    within = (features - onehot @ means).square().sum(1).mean()
    between = (present - present.mean(0)).square().sum(1).mean()
    scale = temperature * torch.where(within > 1e-6 * between, within, between).clamp_min(1e-12)
    return 2 * means / scale, -means.square().sum(1) / scale


class Prototype(ClosedForm):
    """The nearest class mean in feature space (Snell et al. 2017, arXiv:1703.05175), which is a linear head.

    temperature: of the probabilities, in units of the mean squared distance of an image to the mean of its class.
    """

    def __init__(self, temperature: float = 1.0, **options):
        super().__init__(**options)
        self.temperature = number("finetune.temperature", temperature, above=0)

    def solve(self, features: Tensor, onehot: Tensor) -> tuple[Tensor, Tensor]:
        if bool((onehot.sum(0) == 0).any()):
            raise InputError("finetune=prototype: a class has no training images")
        return nearest_mean_head(features, onehot, self.temperature)


class Ridge(ClosedForm):
    """Least squares from features to classes, regularized towards the old head (Hoerl & Kennard 1970; as a last layer,
    Bertinetto et al. 2019, arXiv:1805.08136).

    strength: of the regularization: the old head weighs as much as this many images, however often each is used.
    """

    def __init__(self, strength: float = 100.0, **options):
        super().__init__(**options)
        self.strength = number("finetune.strength", strength, above=0)

    def solve(self, features: Tensor, onehot: Tensor) -> tuple[Tensor, Tensor]:
        """Targets are 0 and 1 around 1/K, the old head computes logits: it is rescaled to the targets first."""
        count, classes = onehot.shape
        inputs = torch.cat([features, features.new_ones(count, 1)], 1)
        old = self._initial_head.to(inputs)
        targets = (onehot - 1 / classes) * classes
        prior = torch.zeros_like(old) if self.fresh_head else old - old.mean(0)
        logits = inputs @ prior.T
        scale = (logits * targets).sum() / logits.square().sum().clamp_min(1e-12)  # of the best fit to the targets
        prior = prior * scale.clamp_min(0)
        penalty = self.strength * features.square().mean() * count / (self.num_images or count)
        gram = inputs.T @ inputs
        gram += penalty * torch.eye(len(gram)).to(gram)
        residual = (targets - inputs @ prior.T).T @ inputs
        head = prior + torch.linalg.solve(gram, residual.T).T
        head = head * self._fit_scale(inputs, gram, head, targets)
        return head[:, :-1], head[:, -1]

    @staticmethod
    def _fit_scale(inputs: Tensor, gram: Tensor, head: Tensor, targets: Tensor) -> Tensor:
        """The scale of the logits with the lowest leave-one-out cross-entropy.

        A head is too confident on the images that it was solved from.
        """
        leverage = (inputs * torch.linalg.solve(gram, inputs.T).T).sum(1, keepdim=True)
        left_out = (inputs @ head.T - leverage * targets) / (1 - leverage).clamp_min(1e-3)
        return _scale_of_lowest_loss(left_out, targets.argmax(1), torch.logspace(-2, 2, 41))


@dataclass
class SolvedHead:
    """weight (K, D), bias (K,); left_out (N, K): the outputs for each image of the head solved without it, None where
    a class would be left without images. strength: of the regularization."""

    weight: Tensor
    bias: Tensor
    left_out: Tensor | None
    strength: float

    @torch.no_grad()
    def set(self, head: nn.Linear) -> None:
        """Give these values to a head with a bias."""
        head.weight.copy_(self.weight)
        head.bias.copy_(self.bias)


@torch.no_grad()
def solve_new_head(features: Tensor, labels: Tensor, num_outputs: int, is_number: bool = False) -> SolvedHead:
    """A head for new classes, by ridge regression of the targets on the features.

    features (N, D), labels (N,), classes or numbers.

    The weakest of STRENGTHS is taken, in units of the mean squared input, or, where every class has ten images, the one
    of the lowest leave-one-out error, if that is lower by more than two standard errors. The scale of the logits has
    the lowest leave-one-out cross-entropy.
    """
    features = features.double()
    targets = labels.double().unsqueeze(1) if is_number else nn.functional.one_hot(labels, num_outputs).double()
    centre, mean = features.mean(0), targets.mean(0)
    inputs = features - centre
    unit = inputs.square().sum(1).mean().sqrt().clamp_min(1e-12)
    inputs = inputs / unit
    values, vectors = torch.linalg.eigh(inputs @ inputs.T)
    values, around = values.clamp_min(0), targets - mean

    def left_out(strength: Tensor) -> Tensor:
        hat = (vectors * (values / (values + strength))) @ vectors.T
        leverage = (hat.diagonal() + 1 / len(hat)).clamp_max(1 - 1e-6).unsqueeze(1)
        return targets - (around - hat @ around) / (1 - leverage)

    least = len(labels) if is_number else int(targets.sum(0).min())
    strength = STRENGTHS[0]
    if least >= 10:
        errors = torch.stack([(targets - left_out(s)).square().sum(1) for s in STRENGTHS])
        better = errors[0] - errors[errors.mean(1).argmin()]
        if better.mean() > 2 * better.std() / len(labels) ** 0.5:
            strength = STRENGTHS[errors.mean(1).argmin()]
    dual = vectors @ ((vectors.T @ around) / (values + strength).unsqueeze(1))
    weight = (inputs.T @ dual).T / unit
    bias = mean - weight @ centre
    outputs = left_out(strength) if least > 1 else None
    if not is_number:
        scale = NO_LEFT_OUT_SCALE if outputs is None else _scale_of_lowest_loss(outputs, labels, LEFT_OUT_SCALES)
        weight, bias = scale * weight, scale * (bias - bias.mean())
        outputs = None if outputs is None else scale * outputs
    return SolvedHead(weight, bias, outputs, float(strength))


def _scale_of_lowest_loss(logits: Tensor, labels: Tensor, scales: Tensor) -> Tensor:
    """The one of `scales` (S,) by which logits (N, K) have the lowest cross-entropy."""
    scales = scales.to(logits)
    losses = torch.stack([nn.functional.cross_entropy(logits * scale, labels) for scale in scales])
    return scales[losses.argmin()]
