"""The one-convolution network of the tutorials."""

from torch import nn

from src.models.layers import SmallNet, check_widths, count_features, make_activation, make_head, make_pooling


class ConvNet(SmallNet):
    """One 3x3 convolution with same padding, pooled (28x28 to 14x14), then fully connected layers.

    widths: channels of the convolution. hidden: widths of the hidden layers.
    Raises InputError for an unknown activation or pooling, widths below 1, or a dropout outside 0..1.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        activation: str = "relu",
        pooling: str = "max",
        dropout: float = 0.0,
        widths: tuple[int] = (16,),
        hidden: tuple[int, ...] = (120, 84),
    ):
        check_widths("widths", widths, 1)
        check_widths("hidden", hidden)
        features = nn.Sequential(
            nn.Conv2d(shape[0], widths[0], 3, padding=1), make_activation(activation), make_pooling(pooling)
        )
        super().__init__(features, make_head(count_features(features, shape), hidden, num_classes, activation, dropout))
