"""The one-convolution network of the tutorials."""

from torch import nn

from src.models.layers import SmallNet, flat_features, make_activation, make_head, make_pooling


class ConvNet(SmallNet):
    """One 3x3 convolution of 16 channels with same padding, pooled (28x28 to 14x14), then 120-84-K.

    Raises InputError for an unknown activation or pooling, or a dropout outside 0..1.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        activation: str = "relu",
        pooling: str = "max",
        dropout: float = 0.0,
    ):
        features = nn.Sequential(
            nn.Conv2d(shape[0], 16, 3, padding=1), make_activation(activation), make_pooling(pooling)
        )
        super().__init__(
            features, make_head(flat_features(features, shape), (120, 84), num_classes, activation, dropout)
        )
