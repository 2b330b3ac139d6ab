"""Low-rank changes of weights: LoRA (Hu et al. 2021, arXiv:2106.09685) and DoRA (Liu et al. 2024, arXiv:2402.09353).

The change is added to the weight, not beside the layer: a convolution keeps its stride, padding mode, dilation and
groups, and merging is exact. A layer costs one small matrix product more per step.
"""

import math
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from src.errors import InputError, is_integer, is_number, require
from src.finetune.method import Method
from src.models.structure import head_of


class LowRank(nn.Module):
    """weight + scale * b @ a, the weight seen as (outputs, inputs per output); zero at the start, where b is 0.

    With magnitude (DoRA), the sum is brought to a learnt norm per output, at the start the weight's own.
    """

    def __init__(self, weight: Tensor, rank: int, scale: float, magnitude: bool):
        super().__init__()
        flat = weight.detach().flatten(1)
        self.scale = scale
        self.a = nn.Parameter(torch.empty(rank, flat.shape[1], device=weight.device, dtype=weight.dtype))
        self.b = nn.Parameter(torch.zeros(flat.shape[0], rank, device=weight.device, dtype=weight.dtype))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))
        self.magnitude = nn.Parameter(flat.norm(dim=1, keepdim=True)) if magnitude else None

    def forward(self, weight: Tensor) -> Tensor:
        flat = weight.flatten(1)
        changed = torch.addmm(flat, self.b, self.a, alpha=self.scale)
        if self.magnitude is not None:
            # The norm is a constant for the gradient, as in the paper (section 4.3); 1 at the start to the last bit
            # only up to rounding.
            changed = changed * (self.magnitude / changed.norm(dim=1, keepdim=True).detach().clamp_min(1e-12))
        return changed.view_as(weight)


class LoRA(Method):
    """A low-rank change of every linear and convolutional weight below the head trains, and the head.

    rank: of the change, at most the smaller side of every layer's matrix. alpha: strength; the change is multiplied by
    alpha / rank. targets: names of layers, with * and ?; None takes all below the head.
    train_head: whether the head trains in full beside it.
    Raises InputError for a rank that is no use in a layer, or names that match none.
    """

    adds, merges = True, True
    magnitude, wrapped = False, "lora"

    def __init__(
        self,
        rank: int = 4,
        alpha: float = 4.0,
        targets: Sequence[str] | None = None,
        train_head: bool = True,
        **rates: float,
    ):
        super().__init__(**rates)
        require(is_integer(rank) and rank >= 1, f"finetune.rank={rank}: a whole number of at least 1")
        require(is_number(alpha) and alpha > 0, f"finetune.alpha={alpha}: above 0")
        self.rank, self.alpha, self.train_head = rank, alpha, train_head
        self.targets = [targets] if isinstance(targets, str) else targets
        named = isinstance(self.targets, list | tuple) and all(isinstance(name, str) for name in self.targets)
        require(
            targets is None or (named and len(self.targets) > 0),
            f"finetune.targets={targets}: a list of names of layers, or null for all below the head",
        )
        require(isinstance(train_head, bool), f"finetune.train_head={train_head}: true or false")

    def layers(self, model: nn.Module) -> list[tuple[str, nn.Module]]:
        """The layers that get a change."""
        head = head_of(model)[1]
        known = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        if self.targets is None:
            return [(name, m) for name, m in known if m is not head]
        unknown = [t for t in self.targets if not any(fnmatch(name, t) for name, _ in known)]
        if unknown:
            raise InputError(
                f"finetune.targets: {', '.join(unknown)} names no layer; there are: {', '.join(n for n, _ in known)}"
            )
        return [(name, m) for name, m in known if any(fnmatch(name, t) for t in self.targets)]

    def adapt(self, model: nn.Module, shape: tuple[int, int, int], fresh_head: bool = False) -> nn.Module:
        super().adapt(model, shape, fresh_head)
        chosen = self.layers(model)
        require(bool(chosen), f"finetune={self.wrapped}: this network has no layer below its head")
        # A layer of few outputs takes as much rank as it has; one asked for by name must be able to hold it.
        most = {name: min(layer.weight.flatten(1).shape) for name, layer in chosen}
        name = (max if self.targets is None else min)(most, key=most.get)
        if self.rank > most[name]:
            raise InputError(f"finetune.rank={self.rank} is above the rank of layer {name}: give at most {most[name]}")
        for name, layer in chosen:
            rank = min(self.rank, most[name])
            change = LowRank(layer.weight, rank, self.alpha / self.rank, self.magnitude)
            parametrize.register_parametrization(layer, "weight", change, unsafe=True)
        return model

    def wanted(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        added = [p for module in model.modules() if isinstance(module, LowRank) for p in module.parameters()]
        return [*added, *(head_of(model)[1].parameters() if self.train_head or self.fresh_head else ())]

    def merge(self, model: nn.Module) -> None:
        for module in model.modules():
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


class DoRA(LoRA):
    """LoRA on the direction of each output's weights, and their length learnt beside it."""

    magnitude, wrapped = True, "dora"
