"""The fully connected network of the tutorials: 784-128-10."""

import math

from torch import nn

from src.models.layers import SmallNet, check_widths, make_head


class MLP(SmallNet):
    """Fully connected layers on the pixels; hidden: widths of the hidden layers.

    Raises InputError for an unknown activation, a width below 1, or a dropout outside 0..1.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        hidden: tuple[int, ...] = (128,),
        activation: str = "relu",
        dropout: float = 0.0,
    ):
        check_widths("hidden", hidden)
        super().__init__(nn.Sequential(), make_head(math.prod(shape), hidden, num_classes, activation, dropout))
