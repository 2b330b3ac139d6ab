"""The networks of published figures of continual learning."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class PublishedMLP(nn.Module):
    """An MLP for pixels from 0 to 1, for which it undoes the normalization.

    shape: (C, H, W) of the images. hidden: widths of the hidden layers. xavier: whether initial weights are Xavier's
    (Glorot & Bengio 2010) with biases of 0, as Buzzega et al. 2020 have them in their code; else they are PyTorch's.
    mean, std: by which the pixels are normalized; the defaults are those of MNIST.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        hidden: Sequence[int],
        xavier: bool = True,
        mean: float = 0.1307,
        std: float = 0.3081,
        **_: object,
    ):
        super().__init__()
        self.mean, self.std = mean, std
        widths = [shape[0] * shape[1] * shape[2], *hidden, num_classes]
        layers = [nn.Linear(wide, narrow) for wide, narrow in pairwise(widths)]
        hidden_layers = [part for layer in layers[:-1] for part in (layer, nn.ReLU())]
        self.net = nn.Sequential(nn.Flatten(), *hidden_layers, layers[-1])
        for layer in layers if xavier else ():
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Normalized images (B, C, H, W) -> logits (B, K)."""
        levels = ((images * self.std + self.mean) * 255).round()  # black exactly 0, whose weights then get no gradient
        return self.net(levels / 255)
