"""The two-convolution network of the tutorials."""

from torch import nn

from src.models.layers import SmallNet, check_widths, count_features, make_activation, make_head, make_pooling


class CNN(SmallNet):
    """Two 3x3 convolutions with same padding, each pooled, then fully connected layers.

    widths: channels of the two convolutions. hidden: widths of the hidden layers.
    Raises InputError for an unknown activation or pooling, widths below 1, a dropout outside 0..1, or images that are
    too small.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        activation: str = "relu",
        pooling: str = "max",
        batch_norm: bool = False,
        dropout: float = 0.0,
        widths: tuple[int, int] = (16, 32),
        hidden: tuple[int, ...] = (128,),
    ):
        check_widths("widths", widths, 2)
        check_widths("hidden", hidden)
        layers, inputs = [], shape[0]
        for outputs in widths:
            layers += [
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=not batch_norm),
                *([nn.BatchNorm2d(outputs)] if batch_norm else []),
                make_activation(activation),
                make_pooling(pooling),
            ]
            inputs = outputs
        features = nn.Sequential(*layers)
        super().__init__(features, make_head(count_features(features, shape), hidden, num_classes, activation, dropout))
