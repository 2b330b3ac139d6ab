"""The two-convolution network of the tutorials."""

from torch import nn

from src.models.layers import SmallNet, flat_features, make_activation, make_head, make_pooling


class CNN(SmallNet):
    """3x3 convolutions of 16 and 32 channels with same padding, each pooled, then 128-K.

    Raises InputError for an unknown activation or pooling, a dropout outside 0..1, or images that are too small.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        activation: str = "relu",
        pooling: str = "max",
        batch_norm: bool = False,
        dropout: float = 0.0,
    ):
        layers, inputs = [], shape[0]
        for outputs in (16, 32):
            layers += [
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=not batch_norm),
                *([nn.BatchNorm2d(outputs)] if batch_norm else []),
                make_activation(activation),
                make_pooling(pooling),
            ]
            inputs = outputs
        features = nn.Sequential(*layers)
        super().__init__(features, make_head(flat_features(features, shape), (128,), num_classes, activation, dropout))
