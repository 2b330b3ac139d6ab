"""What the layers of a network do on fixed images: their activations, and which of their units never answer."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from src.errors import InputError
from src.models.structure import find_head

# A unit of a rectifier is dead if it never rises above 0; of a sigmoid, if it answers everything alike.
RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish)
SIGMOIDS = (nn.Tanh, nn.Sigmoid, nn.Hardsigmoid)
ALIKE = 1e-3
BINS = 64
VALUES = 8_192  # activations of a layer that are kept per batch, evenly spaced


class Histogram(NamedTuple):
    """How many of `count` values are in each bin of equal width; edges (BINS,) are the bins' upper ends."""

    low: float
    high: float
    count: int
    total: float
    squares: float
    edges: list[float]
    counts: list[float]


@dataclass
class Activity:
    """What a layer gave: after `activation`, the class of the module that follows it, or as it is where that is ''.

    values: evenly spaced ones, (N,). low, high: of each unit (a channel, or an output), (U,). maps: of a convolution,
    (P, C, H, W), of the first images.
    """

    activation: str
    kind: type[nn.Module] | None
    low: Tensor
    high: Tensor
    maps: Tensor | None
    parts: list[Tensor] = field(default_factory=list)

    @property
    def values(self) -> Tensor:
        return torch.cat(self.parts)

    @property
    def dead(self) -> Tensor | None:
        """Which units never answered, bool (U,); None where no activation follows."""
        if self.kind is None:
            return None
        if issubclass(self.kind, SIGMOIDS):
            return self.high - self.low < ALIKE
        return self.high <= 0


class Observed(NamedTuple):
    """activities: by layer, in the order in which they ran. features: what the head reads, (N, D), or the logits of a
    network whose head is no linear layer. logits: (N, K)."""

    activities: dict[str, Activity]
    features: Tensor
    logits: Tensor


def weighted_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The convolutions and linear layers by name, in the order of their definition."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | _ConvNd)}


@torch.no_grad()
def observe(model: nn.Module, batches: Sequence[Tensor], pictures: int = 0, channels: int = 16) -> Observed:
    """Show the network some batches in eval mode, and leave it, its statistics and the random streams as they were.

    batches: of what the network reads. pictures, channels: how many maps are kept of each convolution.
    """
    activities: dict[str, Activity] = {}
    running: list[list] = []  # layer, module, output, activation of one pass
    features, logits = [], []

    def ran(name: str) -> Callable:
        return lambda module, args, output: running.append([name, module, output, None])

    def activated(module: nn.Module, args: tuple, output: Tensor) -> None:
        # An activation belongs to the first layer since the last one that has as many units: in a residual block to
        # the convolution of the main path, not to that of the shortcut.
        waiting = [entry for entry in running if entry[3] is None]
        for entry in waiting:
            if output.ndim == entry[2].ndim and _units(entry[1], output) == _units(entry[1], entry[2]):
                entry[2:] = output, module
                break
        for entry in waiting:
            entry[3] = entry[3] or False

    try:
        head = find_head(model)[1]
    except InputError:
        head = None
    handles = [layer.register_forward_hook(ran(name)) for name, layer in weighted_layers(model).items()]
    handles += [m.register_forward_hook(activated) for m in model.modules() if isinstance(m, RECTIFIERS + SIGMOIDS)]
    if head is not None:
        handles.append(head.register_forward_pre_hook(lambda module, args: features.append(args[0].flatten(1).float())))
    try:
        with _undisturbed(model):
            for number, images in enumerate(batches):
                logits.append(model.forward(images).float())  # not through a compiled call, which sees no hooks
                seen = set()
                for name, module, output, activation in running:
                    if name not in seen:
                        _note(activities, name, module, output, activation, 0 if number else pictures, channels)
                    seen.add(name)
                running.clear()
    finally:
        for handle in handles:
            handle.remove()
    return Observed(activities, torch.cat(features or logits), torch.cat(logits))


def _units(layer: nn.Module, output: Tensor) -> int:
    return output.shape[1 if isinstance(layer, _ConvNd) else -1]


def _note(activities: dict, name: str, layer: nn.Module, output: Tensor, activation, pictures: int, channels: int):
    output = output.float()
    unit = 1 if isinstance(layer, _ConvNd) else output.ndim - 1
    others = [axis for axis in range(output.ndim) if axis != unit]
    low, high = output.amin(others), output.amax(others)
    if name not in activities:
        kind = type(activation) if activation else None
        maps = output[:pictures, :channels].clone() if output.ndim == 4 and unit == 1 and pictures else None
        activities[name] = Activity(kind.__name__ if kind else "", kind, low, high, maps)
    activity = activities[name]
    activity.low, activity.high = torch.minimum(activity.low, low), torch.maximum(activity.high, high)
    flat = output.flatten()
    activity.parts.append(flat[:: -(-len(flat) // VALUES)].clone())


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode


def histogram(values: Tensor) -> Histogram | None:
    """Of the finite ones of `values`, whatever their shape; None if there are none."""
    values = values.detach().float().flatten()
    if not values.isfinite().all():
        values = values[values.isfinite()]
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    # torch.histc widens a range of no width by itself; here, so that the edges are known.
    wide = max(1e-6, 1e-4 * abs(low)) if high - low <= 1e-7 * max(abs(low), abs(high)) else 0.0
    counts = torch.histc(values, BINS, low - wide, high + wide)
    edges = torch.linspace(low - wide, high + wide, BINS + 1, dtype=torch.double)[1:]
    squares = float(values.square().sum())
    return Histogram(low, high, len(values), float(values.sum()), squares, edges.tolist(), counts.tolist())
