"""Magnitude pruning: the weights nearest to 0 become 0 while the others go on training."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from src.errors import choice, fraction
from src.finetune.method import Method

MASK_UPDATES = 50  # while the sparsity rises


class Mask(nn.Module):
    """weight * mask: a masked weight is 0 whatever the optimizer does, momentum and weight decay included.

    The mask is bool and in every checkpoint, so that a resumed run continues bit-equal.
    """

    def __init__(self, weight: Tensor):
        super().__init__()
        self.mask = nn.Buffer(torch.ones_like(weight, dtype=torch.bool))

    def forward(self, weight: Tensor) -> Tensor:
        return torch.where(self.mask, weight, 0.0)  # not a product: 0 * inf is NaN, and 0 * -1 is -0.0


class Prune(Method):
    """Every weight trains; more and more of the smallest are set to 0 for good (Zhu & Gupta 2017, arXiv:1710.01878).

    sparsity: final share of zeros among the weights of linear and convolutional layers.
    scope: what a weight is compared with: all weights (global); those of its layer, so that every layer is equally
    sparse (layer); or all, by its square over the sum of the squares in its layer that are no smaller (lamp; Lee et al.
    2021, arXiv:2010.07611). Each layer keeps at least one weight.
    until: share of the training after which the sparsity is reached; it rises as 1 - (1 - t)^3.
    """

    adds_modules, mergeable = True, True

    def __init__(self, sparsity: float = 0.8, scope: str = "global", until: float = 0.5, **options):
        super().__init__(**options)
        self.sparsity = fraction("finetune.sparsity", sparsity, zero=False, one=False)
        self.scope = choice("finetune.scope", scope, ("global", "layer", "lamp"))
        self.until = fraction("finetune.until", until, zero=False)
        self._updates = 0

    def adapt(self, model: nn.Module, shape: tuple[int, int, int], fresh_head: bool = False) -> nn.Module:
        super().adapt(model, shape, fresh_head)
        for layer in [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]:
            parametrize.register_parametrization(layer, "weight", Mask(layer.weight))
        return model

    def trainable_parameters(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        return model.parameters()

    def on_step_start(self, model: nn.Module, progress: float) -> None:
        """Update the masks if the next of MASK_UPDATES is due; a repeated update changes nothing."""
        due = min(MASK_UPDATES, int(MASK_UPDATES * progress / self.until))
        if due > self._updates:
            self._updates = due
            self.update_masks(model, self.sparsity * (1 - (1 - due / MASK_UPDATES) ** 3))

    @torch.no_grad()
    def update_masks(self, model: nn.Module, sparsity: float) -> None:
        """Mask the weights with the lowest scores, this share of all weights; masked weights stay masked."""
        layers = _masked_layers(model)
        scores = [self._scores(weight, mask) for _, weight, mask in layers]
        if self.scope == "layer":
            kept = [_top_fraction(score, 1 - sparsity) for score in scores]
        else:
            kept = list(_top_fraction(torch.cat(scores), 1 - sparsity).split([len(score) for score in scores]))
        for (_, _, mask), score, keep in zip(layers, scores, kept, strict=True):
            mask.copy_((keep | (score == score.max())).view_as(mask) & mask)

    def _scores(self, weight: Tensor, mask: Tensor) -> Tensor:
        """Score of each weight (N,); below 0 where it is masked."""
        scores = weight.abs().flatten().float()
        if self.scope == "lamp":
            squares = torch.where(mask.flatten(), scores.square(), 0.0)
            descending, order = squares.sort(descending=True)
            scores = torch.empty_like(squares)
            scores[order] = descending / descending.cumsum(0).clamp_min(1e-30)
        return torch.where(mask.flatten(), scores, -1.0)

    def is_complete(self, model: nn.Module) -> bool:
        """Whether the masks have reached the final sparsity."""
        masks = [mask for _, _, mask in _masked_layers(model)]
        total = sum(mask.numel() for mask in masks)
        return sum(int(mask.sum()) for mask in masks) <= (1 - self.sparsity) * total + len(masks)

    def merge(self, model: nn.Module) -> None:
        for layer, _, _ in _masked_layers(model):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def _masked_layers(model: nn.Module) -> list[tuple[nn.Module, Tensor, Tensor]]:
    layers = [module for module in model.modules() if parametrize.is_parametrized(module, "weight")]
    changes = [(layer, layer.parametrizations.weight) for layer in layers]
    return [(layer, change.original, change[0].mask) for layer, change in changes if isinstance(change[0], Mask)]


def _top_fraction(scores: Tensor, share: float) -> Tensor:
    """Marks the highest `share` of the scores, bool (N,): exactly that many, whatever the ties, and at least one."""
    count = max(1, round(share * len(scores)))
    top = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    top[scores.topk(count).indices] = True
    return top
