"""Record the activations of a network's layers on fixed images, and find their dead units."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from src.errors import InputError
from src.models.structure import eval_mode, find_head

# A unit is dead if its rectifier never rises above 0, or if its sigmoid is constant over all images.
RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish)
SIGMOIDS = (nn.Tanh, nn.Sigmoid, nn.Hardsigmoid)
CONSTANT_RANGE = 1e-3
BINS = 64
MAX_VALUES = 8_192  # recorded per layer and batch, evenly spaced


class Histogram(NamedTuple):
    """Counts of `count` values in bins of equal width; edges (BINS,) are the bins' upper ends."""

    low: float
    high: float
    count: int
    total: float
    squares: float
    edges: list[float]
    counts: list[float]


@dataclass
class LayerActivations:
    """A layer's outputs after its activation, or as they are if none follows."""

    activation: type[nn.Module] | None
    low: Tensor  # of each unit, a channel or an output: (U,)
    high: Tensor  # (U,)
    maps: Tensor | None  # of a convolution for the first images: (P, C, H, W)
    samples: list[Tensor] = field(default_factory=list)  # evenly spaced values, a tensor per batch

    @property
    def dead(self) -> Tensor | None:
        """The units that respond to no image, bool (U,); None without an activation."""
        if self.activation is None:
            return None
        if issubclass(self.activation, SIGMOIDS):
            return self.high - self.low < CONSTANT_RANGE
        return self.high <= 0


class Activations(NamedTuple):
    """What `record_activations` found."""

    layers: dict[str, LayerActivations]  # by name, in the order of computation
    features: Tensor  # the head's inputs (N, D), or the logits of a network whose head is not linear
    logits: Tensor  # (N, K)


@dataclass(eq=False)
class _LayerCall:
    """One call of a layer. activated: whether an activation has run since, its own or another layer's."""

    name: str
    layer: nn.Module
    output: Tensor
    activation: nn.Module | None = None
    activated: bool = False


def weighted_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The convolutions and linear layers by name, in the order of their definition."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | _ConvNd)}


def record_activations(
    model: nn.Module, batches: Iterable[Tensor], num_images: int = 0, channels: int = 16
) -> Activations:
    """Run batches of normalized images in eval mode; the model, its statistics and the random state stay as they were.

    num_images, channels: how many feature maps to record of each convolution.
    """
    layers: dict[str, LayerActivations] = {}
    calls: list[_LayerCall] = []  # of one pass
    features: list[Tensor] = []
    logits: list[Tensor] = []
    device = next(model.parameters()).device
    random_state = torch.random.fork_rng([device] if device.type == "cuda" else [])
    with random_state, eval_mode(model), torch.no_grad(), _hooks(model, calls, features):
        for index, images in enumerate(batches):
            logits.append(model.forward(images).float())  # a compiled call would skip the hooks
            first_calls = {call.name: call for call in reversed(calls)}
            for call in calls:
                if call is first_calls[call.name]:
                    _record(layers, call, 0 if index else num_images, channels)
            calls.clear()
    return Activations(layers, torch.cat(features or logits), torch.cat(logits))


@contextmanager
def _hooks(model: nn.Module, calls: list[_LayerCall], features: list[Tensor]) -> Iterator[None]:
    """Append every layer's call, with the activation after it, and the head's inputs."""

    def on_layer(name: str) -> Callable:
        return lambda module, args, output: calls.append(_LayerCall(name, module, output))

    def on_activation(module: nn.Module, args: tuple, output: Tensor) -> None:
        # An activation belongs to the first layer since the last activation that has as many units: in a residual
        # block to the convolution of the main path, not to that of the shortcut.
        pending = [call for call in calls if not call.activated]
        for call in pending:
            if output.ndim == call.output.ndim and _units(call.layer, output) == _units(call.layer, call.output):
                call.output, call.activation = output, module
                break
        for call in pending:
            call.activated = True

    def on_head(module: nn.Module, args: tuple) -> None:
        features.append(args[0].flatten(1).float())

    with ExitStack() as hooks:
        for name, layer in weighted_layers(model).items():
            hooks.enter_context(layer.register_forward_hook(on_layer(name)))
        for module in model.modules():
            if isinstance(module, RECTIFIERS + SIGMOIDS):
                hooks.enter_context(module.register_forward_hook(on_activation))
        with suppress(InputError):  # a head that is not linear
            hooks.enter_context(find_head(model)[1].register_forward_pre_hook(on_head))
        yield


def _units(layer: nn.Module, output: Tensor) -> int:
    return output.shape[1 if isinstance(layer, _ConvNd) else -1]


def _record(layers: dict[str, LayerActivations], call: _LayerCall, num_images: int, channels: int) -> None:
    output = call.output.float()
    unit_axis = 1 if isinstance(call.layer, _ConvNd) else output.ndim - 1
    other_axes = [axis for axis in range(output.ndim) if axis != unit_axis]
    low, high = output.amin(other_axes), output.amax(other_axes)
    if call.name not in layers:
        has_maps = output.ndim == 4 and unit_axis == 1 and num_images
        maps = output[:num_images, :channels].clone() if has_maps else None
        activation = type(call.activation) if call.activation else None
        layers[call.name] = LayerActivations(activation, low, high, maps)
    layer = layers[call.name]
    layer.low, layer.high = torch.minimum(layer.low, low), torch.maximum(layer.high, high)
    flat = output.flatten()
    layer.samples.append(flat[:: -(-len(flat) // MAX_VALUES)].clone())


def histogram(values: Tensor) -> Histogram | None:
    """The histogram of the finite values, whatever their shape; None if there are none."""
    values = values.detach().float().flatten()
    if not values.isfinite().all():
        values = values[values.isfinite()]
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    # torch.histc would widen an empty range by itself, with unknown edges.
    margin = max(1e-6, 1e-4 * abs(low)) if high - low <= 1e-7 * max(abs(low), abs(high)) else 0.0
    counts = torch.histc(values, BINS, low - margin, high + margin)
    edges = torch.linspace(low - margin, high + margin, BINS + 1, dtype=torch.double)[1:]
    squares = float(values.square().sum())
    return Histogram(low, high, len(values), float(values.sum()), squares, edges.tolist(), counts.tolist())
