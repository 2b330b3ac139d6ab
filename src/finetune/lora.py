"""Low-rank changes of weights: LoRA (Hu et al. 2021, arXiv:2106.09685) and DoRA (Liu et al. 2024, arXiv:2402.09353).

The change is added to the weight, not beside the layer: a convolution keeps its stride, padding mode, dilation and
groups, and merging is exact. Each layer costs one more small matrix product per step.
"""

import math
from collections.abc import Iterable
from fnmatch import fnmatch

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from src.errors import InputError, boolean, number, positive_int, require
from src.finetune.method import Method
from src.models.structure import find_head


class LowRank(nn.Module):
    """weight + scale * b @ a, with the weight as (outputs, inputs per output); initially the identity: b is 0.

    with_magnitude (DoRA): the sum is rescaled to a learned norm per output, initially the norm of the weight.
    """

    def __init__(self, weight: Tensor, rank: int, scale: float, with_magnitude: bool):
        super().__init__()
        flat = weight.detach().flatten(1)
        self.scale = scale
        self.a = nn.Parameter(torch.empty(rank, flat.shape[1], device=weight.device, dtype=weight.dtype))
        self.b = nn.Parameter(torch.zeros(flat.shape[0], rank, device=weight.device, dtype=weight.dtype))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))
        self.magnitude = nn.Parameter(flat.norm(dim=1, keepdim=True)) if with_magnitude else None

    def forward(self, weight: Tensor) -> Tensor:
        flat = weight.flatten(1)
        changed = torch.addmm(flat, self.b, self.a, alpha=self.scale)
        if self.magnitude is not None:
            # The norm is a constant for the gradient, as in the paper (section 4.3); the initial factor is 1 only up
            # to rounding.
            changed = changed * (self.magnitude / changed.norm(dim=1, keepdim=True).detach().clamp_min(1e-12))
        return changed.view_as(weight)


class LoRA(Method):
    """A low-rank change of every linear and convolutional weight below the head trains, and the head.

    rank: of the change; a layer with a smaller matrix takes its full rank. alpha: strength; the change is multiplied by
    alpha / rank. targets: names of layers, with the wildcards * and ?; None is every layer below the head.
    train_head: whether the head trains in full too.
    Raises InputError for a rank above that of the largest layer or of a named one, or names that match no layer.
    """

    adds_modules, mergeable = True, True
    option, with_magnitude = "lora", False

    def __init__(
        self, rank: int = 4, alpha: float = 4.0, targets: list[str] | None = None, train_head: bool = True, **options
    ):
        super().__init__(**options)
        self.rank = positive_int("finetune.rank", rank)
        self.alpha = number("finetune.alpha", alpha, above=0)
        self.train_head = boolean("finetune.train_head", train_head)
        self.targets = [targets] if isinstance(targets, str) else targets
        is_list = isinstance(self.targets, list | tuple) and all(isinstance(name, str) for name in self.targets)
        if targets is not None and not (is_list and targets):
            raise InputError(f"finetune.targets={targets}: a list of names of layers, or null for all below the head")

    def adapt(self, model: nn.Module, shape: tuple[int, int, int], fresh_head: bool = False) -> nn.Module:
        super().adapt(model, shape, fresh_head)
        layers = self._target_layers(model)
        require(bool(layers), f"finetune={self.option}: this network has no layer below its head")
        # By default a layer with few outputs takes its full rank; a layer that is named must be able to hold `rank`.
        max_ranks = {name: min(layer.weight.flatten(1).shape) for name, layer in layers.items()}
        limiting = (max if self.targets is None else min)(max_ranks, key=max_ranks.__getitem__)
        most = max_ranks[limiting]
        message = f"finetune.rank={self.rank} is above the rank of layer {limiting}: give at most {most}"
        require(self.rank <= most, message)
        for name, layer in layers.items():
            rank = min(self.rank, max_ranks[name])
            change = LowRank(layer.weight, rank, self.alpha / self.rank, self.with_magnitude)
            parametrize.register_parametrization(layer, "weight", change, unsafe=True)
        return model

    def _target_layers(self, model: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
        head = find_head(model)[1]
        layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
        if self.targets is None:
            return {name: m for name, m in layers.items() if m is not head}
        unknown = [target for target in self.targets if not any(fnmatch(name, target) for name in layers)]
        if unknown:
            raise InputError(f"finetune.targets: no layer is called {', '.join(unknown)}: one of {', '.join(layers)}")
        return {name: m for name, m in layers.items() if any(fnmatch(name, target) for target in self.targets)}

    def trainable_parameters(self, model: nn.Module, epoch: int, epochs: int) -> Iterable[nn.Parameter]:
        added = [p for module in model.modules() if isinstance(module, LowRank) for p in module.parameters()]
        return [*added, *(find_head(model)[1].parameters() if self.train_head or self.fresh_head else ())]

    def merge(self, model: nn.Module) -> None:
        for module in list(model.modules()):
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


class DoRA(LoRA):
    """LoRA of the direction of each output's weights, and a learned norm of them."""

    option, with_magnitude = "dora", True
