"""LeNet-5 (LeCun et al. 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf), with today's layers."""

from torch import nn

from src.models.convolution import make_conv2d
from src.models.deslant import Deslant
from src.models.layers import SmallNet, check_widths, count_features, make_activation, make_head, make_pooling

MONOTONE = {"relu", "tanh", "sigmoid", "leaky_relu", "elu"}


class LeNet(SmallNet):
    """Two 5x5 convolutions, each pooled, then fully connected layers, as wide as the original's.

    padded: keep 28x28 in the first convolution, as the original's 32x32 input does, and feed 16x5x5 to the first
    linear layer; without it, 16x4x4. deslant: shear digits upright first. convolution: the algorithm of the
    convolutions, one of src.models.convolution.ALGORITHMS, with the same weights. widths: channels of the two
    convolutions. hidden: widths of the hidden layers.
    Raises InputError for an unknown activation, pooling or convolution, widths below 1, a dropout outside 0..1, or
    images that are too small.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        activation: str = "relu",
        pooling: str = "max",
        padded: bool = True,
        batch_norm: bool = False,
        dropout: float = 0.0,
        deslant: bool = False,
        convolution: str = "native",
        widths: tuple[int, int] = (6, 16),
        hidden: tuple[int, ...] = (120, 84),
    ):
        check_widths("widths", widths, 2)
        check_widths("hidden", hidden)

        def block(inputs: int, outputs: int, padding: int) -> list[nn.Module]:
            # Max-pooling before a monotone activation gives the same values for a quarter of the activations.
            act, pool = make_activation(activation), make_pooling(pooling)
            return [
                make_conv2d(inputs, outputs, 5, padding=padding, bias=not batch_norm, algorithm=convolution),
                *([nn.BatchNorm2d(outputs)] if batch_norm else []),
                *([pool, act] if pooling == "max" and activation in MONOTONE else [act, pool]),
            ]

        first = [Deslant()] if deslant else []
        features = nn.Sequential(*first, *block(shape[0], widths[0], 2 if padded else 0), *block(*widths, 0))
        super().__init__(features, make_head(count_features(features, shape), hidden, num_classes, activation, dropout))
