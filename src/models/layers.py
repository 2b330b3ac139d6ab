"""Layers that several families of networks share."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from src.errors import InputError, choice, fraction, is_integer, require
from src.models.padded_channels import run_layers

ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
}
MOST_SIDE = 65  # pixels; every network here takes images of 64
POOLINGS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


def make_activation(name: str) -> nn.Module:
    """Raises InputError for a name that is not in ACTIVATIONS."""
    return ACTIVATIONS[choice("model.activation", name, ACTIVATIONS)]()


def make_pooling(name: str) -> nn.Module:
    """2x2 pooling. Raises InputError for a name that is not in POOLINGS."""
    return POOLINGS[choice("model.pooling", name, POOLINGS)](2)


def make_dropout(rate: float) -> list[nn.Module]:
    """No layer for rate 0. Raises InputError unless 0 <= rate < 1."""
    return [nn.Dropout(rate)] if fraction("model.dropout", rate, one=False) else []


def count_features(layers: nn.Module, shape: tuple[int, int, int]) -> int:
    """Number of values that `layers` compute per image of `shape` (C, H, W).

    Raises InputError, with the least side that fits, if the image is too small for them.
    """
    training = layers.training
    layers.eval()
    try:
        count = _try_features(layers, shape)
        if count is None:
            least = next(side for side in range(1, MOST_SIDE) if _try_features(layers, (shape[0], side, side)))
            given = f"images of {shape[1]}x{shape[2]} are too small for this model"
            raise InputError(f"{given}: each side needs {least} pixels or more, as with data.size={least}")
        return count
    finally:
        layers.train(training)


def _try_features(layers: nn.Module, shape: tuple[int, int, int]) -> int | None:
    """Number of values per image; None for an image that is too small."""
    try:
        with torch.no_grad():
            return layers(torch.zeros(1, *shape)).flatten(1).shape[1]
    except (RuntimeError, InputError):  # from torch's convolution, from ours
        return None


def check_widths(key: str, values: object, count: int | None = None) -> None:
    """Raise InputError unless `values` is a list of whole numbers of at least 1, `count` of them or, for None, any."""
    expected = "a list of widths of 1 or more, such as [128]" if count is None else f"{count} widths of 1 or more"
    if not isinstance(values, list | tuple) or count not in (None, len(values)):
        raise InputError(f"model.{key}={values}: {expected}")
    require(all(is_integer(width) and width >= 1 for width in values), f"model.{key}={values}: {expected}")


def make_head(inputs: int, hidden: Sequence[int], classes: int, activation: str, dropout: float) -> nn.Sequential:
    """Fully connected layers of widths `hidden`, each with activation and dropout, then a linear layer to `classes`."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), make_activation(activation), *make_dropout(dropout)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


class SmallNet(nn.Module):
    """`features`, `flatten`, `head`: the structure that the small networks share."""

    def __init__(self, features: nn.Sequential, head: nn.Sequential):
        super().__init__()
        self.features, self.flatten, self.head = features, nn.Flatten(), head

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.flatten(run_layers(self.features, images)))
