"""Layers whose outputs can be removed one by one, and the multiply-adds that are left then."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from src.errors import require
from src.models.layers import SmallNet
from src.models.resnet import ResidualBlock, ResNet

Layer = nn.Linear | nn.Conv2d


@dataclass
class PrunableLayer:
    """A layer whose outputs, channels or neurons, only `next_layer` reads, perhaps after a norm.

    option: the model option that holds its number of outputs. A `next_layer` behind a flattening has several
    consecutive inputs for each of them.
    """

    option: str
    layer: Layer
    norm: nn.BatchNorm2d | None
    next_layer: Layer

    @property
    def width(self) -> int:
        """Number of outputs."""
        return len(self.layer.weight)

    def importance(self, criterion: str) -> Tensor:
        """Importance of each output, float32 (N,), with mean 1."""
        importance = self.layer.weight.detach().float().flatten(1).norm(dim=1)
        if self.norm is not None:
            scale = self.norm.weight.detach().abs()
            if criterion == "scale":
                importance = scale
            else:
                assert self.norm.running_var is not None  # all norms of src.models keep statistics
                importance = importance * scale / (self.norm.running_var + self.norm.eps).sqrt()
        if criterion == "path":
            importance = importance * self._next_weight().float().norm(dim=(0, 2))
        return importance / importance.mean().clamp_min(1e-30)

    def keep_outputs(self, indices: Tensor) -> None:
        """Remove all outputs but `indices` (int64, ascending), in place."""
        next_weight = self._next_weight()[:, indices]
        kernel = self.next_layer.weight.shape[2:]
        _replace(self.next_layer, "weight", next_weight.reshape(len(next_weight), -1, *kernel))
        for module in [self.layer] if self.norm is None else [self.layer, self.norm]:
            for name in ("weight", "bias", "running_mean", "running_var"):
                values = getattr(module, name, None)
                if values is not None:
                    _replace(module, name, values.detach()[indices])
        for layer in (self.layer, self.next_layer):
            if isinstance(layer, nn.Linear):
                layer.out_features, layer.in_features = layer.weight.shape
            else:
                layer.out_channels, layer.in_channels = layer.weight.shape[:2]
        if self.norm is not None:
            self.norm.num_features = len(indices)

    def _next_weight(self) -> Tensor:
        """The weight of `next_layer` as (its outputs, N, inputs for each of the N)."""
        weight = self.next_layer.weight.detach()
        return weight.reshape(len(weight), self.width, -1)


def _replace(module: nn.Module, name: str, values: Tensor) -> None:
    values = values.clone().contiguous()
    setattr(module, name, nn.Parameter(values) if isinstance(getattr(module, name), nn.Parameter) else values)


class MultiplyAdds:
    """Multiply-adds of a network as a share of the unpruned network's, by the widths of its prunable layers."""

    def __init__(self, model: nn.Module, prunable: list[PrunableLayer], shape: tuple[int, int, int]):
        self._full_widths = [unit.width for unit in prunable]
        # Of each layer: multiply-adds, and the indices in `prunable` that scale its outputs and its inputs, or -1.
        self._layers: list[tuple[int, int, int]] = []
        for layer, positions in _count_positions(model, shape).items():
            outputs = next((i for i, unit in enumerate(prunable) if unit.layer is layer), -1)
            inputs = next((i for i, unit in enumerate(prunable) if unit.next_layer is layer), -1)
            self._layers.append((positions * layer.weight.numel(), outputs, inputs))
        self._total = sum(count for count, _, _ in self._layers)

    def __call__(self, widths: list[int]) -> float:
        shares = [*(width / full for width, full in zip(widths, self._full_widths, strict=True)), 1.0]
        return sum(count * shares[outputs] * shares[inputs] for count, outputs, inputs in self._layers) / self._total


def _count_positions(model: nn.Module, shape: tuple[int, int, int]) -> dict[Layer, int]:
    """Output positions of each linear or convolutional layer, for one image of `shape`."""
    positions: dict[Layer, int] = {m: 0 for m in model.modules() if isinstance(m, Layer)}

    def count(layer, inputs, outputs: Tensor) -> None:
        positions[layer] = outputs[0].numel() // outputs.shape[1]

    handles = [layer.register_forward_hook(count) for layer in positions]
    training = model.training
    with torch.no_grad():
        model.eval()(next(model.parameters()).new_zeros(1, *shape))
    model.train(training)
    for handle in handles:
        handle.remove()
    return positions


def find_prunable_layers(model: nn.Module) -> list[PrunableLayer]:
    """The prunable layers of a network of `src.models`, from the input to the head.

    Raises InputError for a network that has none.
    """
    if isinstance(model, ResNet):
        blocks = [block for block in model.stages if isinstance(block, ResidualBlock)]
        return [PrunableLayer("inner", block.conv1, block.norm1, block.conv2) for block in blocks]
    found = []
    if isinstance(model, SmallNet):
        modules = [m for m in [*model.features, *model.head] if next(m.parameters(), None) is not None]
        layers = [m for m in modules if isinstance(m, Layer)]
        known = all(isinstance(m, nn.Linear | nn.Conv2d | nn.BatchNorm2d) for m in modules)
        for layer, next_layer in pairwise(layers) if known else ():
            following = modules[modules.index(layer) + 1]
            norm = following if isinstance(following, nn.BatchNorm2d) else None
            found.append(PrunableLayer("widths" if isinstance(layer, nn.Conv2d) else "hidden", layer, norm, next_layer))
    having = "lenet, cnn, convnet, mlp with a hidden layer and resnet have, without added modules"
    require(bool(found), f"finetune=channels: this network has no channels that can be removed; {having}")
    return found
