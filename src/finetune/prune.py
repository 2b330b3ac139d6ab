"""Magnitude pruning: the weights nearest to 0 are set to it while the others go on training."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from src.errors import is_number, require
from src.finetune.method import Method

SCOPES = ("global", "layer", "lamp")
STAGES = 50  # how often masks are drawn while the sparsity rises


class Mask(nn.Module):
    """weight * mask: what is masked is 0 whatever the optimizer does, momentum and weight decay included.

    The mask is bool and in every checkpoint, so that a resumed run goes on with the same one to the last bit.
    """

    def __init__(self, weight: Tensor):
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))

    def forward(self, weight: Tensor) -> Tensor:
        return torch.where(self.mask, weight, 0.0)  # where, not *: 0 * inf is no number, and -0.0 is a 0 no more


class Prune(Method):
    """Every weight trains; more and more of the smallest are 0 for good (Zhu & Gupta 2017, arXiv:1710.01878).

    sparsity: share of the weights of linear and convolutional layers that are 0 in the end.
    scope: what a weight is compared with: all weights (global), those of its layer, so that every layer is as sparse
    (layer), or all, by its square over the squares of those in its layer that are no smaller (lamp; Lee et al. 2021,
    arXiv:2010.07611). A layer keeps one weight at least.
    until: share of the training after which the sparsity is reached; it rises as 1 - (1 - t)^3.
    """

    adds, merges = True, True

    def __init__(self, sparsity: float = 0.8, scope: str = "global", until: float = 0.5, **rates: float):
        super().__init__(**rates)
        require(is_number(sparsity) and 0 < sparsity < 1, f"finetune.sparsity={sparsity}: above 0, below 1")
        require(scope in SCOPES, f"finetune.scope={scope}: one of {', '.join(SCOPES)}")
        require(is_number(until) and 0 < until <= 1, f"finetune.until={until}: above 0, at most 1")
        self.sparsity, self.scope, self.until = sparsity, scope, until
        self._stage = 0

    def adapt(self, model: nn.Module, shape: tuple[int, int, int], fresh_head: bool = False) -> nn.Module:
        super().adapt(model, shape, fresh_head)
        layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        for layer in layers:
            parametrize.register_parametrization(layer, "weight", Mask(layer.weight))
        return model

    def wanted(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        return model.parameters()

    def begin_step(self, model: nn.Module, progress: float) -> None:
        """Draw the masks again where the next stage is reached; a stage that is drawn twice changes nothing."""
        stage = min(STAGES, int(STAGES * progress / self.until))
        if stage > self._stage:
            self._stage = stage
            self.draw(model, self.sparsity * (1 - (1 - stage / STAGES) ** 3))

    @torch.no_grad()
    def draw(self, model: nn.Module, sparsity: float) -> None:
        """Mask so many weights, those of the least score; what is masked stays so."""
        layers = _masked(model)
        scores = [self._scores(m.parametrizations.weight.original, m.parametrizations.weight[0].mask) for m in layers]
        if self.scope == "layer":
            chosen = [_largest(score, 1 - sparsity) for score in scores]
        else:
            chosen = _largest(torch.cat(scores), 1 - sparsity).split([len(score) for score in scores])
        for layer, score, keep in zip(layers, scores, chosen, strict=True):
            mask = layer.parametrizations.weight[0].mask
            mask.copy_((keep | (score == score.max())).view_as(mask) & mask)

    def _scores(self, weight: Tensor, mask: Tensor) -> Tensor:
        """Of each weight (N,); below 0 where it is masked."""
        size = weight.abs().flatten().float()
        if self.scope == "lamp":
            squares = torch.where(mask.flatten(), size.square(), 0.0)
            ordered, order = squares.sort(descending=True)
            size = torch.empty_like(squares)
            size[order] = ordered / ordered.cumsum(0).clamp_min(1e-30)
        return torch.where(mask.flatten(), size, -1.0)

    def complete(self, model: nn.Module) -> bool:
        """Whether the masks are as sparse as they are to be."""
        masks = [m.parametrizations.weight[0].mask for m in _masked(model)]
        total = sum(mask.numel() for mask in masks)
        return sum(int(mask.sum()) for mask in masks) <= (1 - self.sparsity) * total + len(masks)

    def merge(self, model: nn.Module) -> None:
        for module in _masked(model):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def _masked(model: nn.Module) -> list[nn.Module]:
    """The layers that have a mask."""
    found = [m for m in model.modules() if parametrize.is_parametrized(m, "weight")]
    return [m for m in found if isinstance(m.parametrizations.weight[0], Mask)]


def _largest(scores: Tensor, share: float) -> Tensor:
    """Where the largest `share` of all scores are, bool (N,); exactly so many, whatever is equal."""
    count = max(1, round(share * len(scores)))
    keep = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    keep[scores.topk(count).indices] = True
    return keep
