"""LeNet-5 (LeCun et al. 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf), with today's layers."""

from torch import nn

from src.models.convolution import make_conv2d
from src.models.deslant import Deslant
from src.models.layers import SmallNet, flat_features, make_activation, make_head, make_pooling


class LeNet(SmallNet):
    """Two 5x5 convolutions of 6 and 16 channels, each pooled, then 120-84-K.

    padded: keep 28x28 in the first convolution, as the original's 32x32 input does, and feed 16x5x5 to the first
    linear layer; without it, 16x4x4. deslant: set digits upright first. convolution: by which form of
    src.models.convolution, with the same weights.
    Raises InputError for an unknown activation, pooling or convolution, a dropout outside 0..1, or images that are too
    small.
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
    ):
        def block(inputs: int, outputs: int, padding: int) -> list[nn.Module]:
            # Pooling before a monotone activation gives the same values from a quarter of the work; averages do not.
            act, pool = make_activation(activation), make_pooling(pooling)
            return [
                make_conv2d(inputs, outputs, 5, padding=padding, bias=not batch_norm, form=convolution),
                *([nn.BatchNorm2d(outputs)] if batch_norm else []),
                *([pool, act] if pooling == "max" and activation in MONOTONE else [act, pool]),
            ]

        upright = [Deslant()] if deslant else []
        features = nn.Sequential(*upright, *block(shape[0], 6, 2 if padded else 0), *block(6, 16, 0))
        super().__init__(
            features, make_head(flat_features(features, shape), (120, 84), num_classes, activation, dropout)
        )


MONOTONE = {"relu", "tanh", "sigmoid", "leaky_relu", "elu"}
