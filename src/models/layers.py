"""What several families are built from."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from src.errors import InputError, is_integer, is_number, require

ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
}
POOLINGS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}


def make_activation(name: str) -> nn.Module:
    """Raises InputError listing the names that exist."""
    if name not in ACTIVATIONS:
        raise InputError(f"model.activation={name}: one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def make_pooling(name: str) -> nn.Module:
    """2x2 pooling. Raises InputError listing the names that exist."""
    if name not in POOLINGS:
        raise InputError(f"model.pooling={name}: one of {', '.join(POOLINGS)}")
    return POOLINGS[name](2)


def make_dropout(rate: float) -> list[nn.Module]:
    """No layer for rate 0. Raises InputError outside 0..1."""
    require(is_number(rate) and 0 <= rate < 1, f"model.dropout={rate}: 0 to below 1")
    return [nn.Dropout(rate)] if rate else []


def flat_features(layers: nn.Module, shape: tuple[int, int, int]) -> int:
    """How many values `layers` makes of one image of `shape` (C, H, W).

    Raises InputError if the image is too small for them.
    """
    training = layers.training
    try:
        with torch.no_grad():
            return layers.eval()(torch.zeros(1, *shape)).flatten(1).shape[1]
    except (RuntimeError, InputError):  # torch's convolution, ours
        raise InputError(
            f"images of {shape[1]}x{shape[2]} are too small for this model: give a larger data.size"
        ) from None
    finally:
        layers.train(training)


def is_widths(values: object) -> bool:
    """A list of whole numbers of at least 1."""
    return isinstance(values, list | tuple) and all(is_integer(width) and width >= 1 for width in values)


def check_widths(key: str, values: object, count: int | None = None) -> None:
    """Raise InputError unless `values` is a list of widths of at least 1, as many as `count` if that is given."""
    many = "a list of widths of 1 or more, such as [128]" if count is None else f"{count} widths of 1 or more"
    require(is_widths(values) and count in (None, len(values)), f"model.{key}={values}: {many}")


def make_head(inputs: int, hidden: Sequence[int], classes: int, activation: str, dropout: float) -> nn.Sequential:
    """Fully connected layers of the given widths, each with its activation and dropout, then one of `classes`."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), make_activation(activation), *make_dropout(dropout)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


class SmallNet(nn.Module):
    """`features`, then `flatten`, then `head`: the form that the small networks share."""

    def __init__(self, features: nn.Sequential, head: nn.Sequential):
        super().__init__()
        self.features, self.flatten, self.head = features, nn.Flatten(), head

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.flatten(self.features(images)))
