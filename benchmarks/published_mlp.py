"""The network of published figures of continual learning."""

from torch import Tensor, nn

MEAN, STD = 0.1307, 0.3081  # of MNIST's pixels


class PublishedMLP(nn.Module):
    """Two hidden layers of 100, as Buzzega et al. 2020 have it in their code: Xavier's initial weights (Glorot & Bengio
    2010), biases of 0, and pixels from 0 to 1, for which it undoes the normalization of MNIST.

    shape: (C, H, W) of the images.
    """

    def __init__(self, shape: tuple[int, int, int], num_classes: int, **_: object):
        super().__init__()
        pixels = shape[0] * shape[1] * shape[2]
        layers = [nn.Linear(pixels, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, num_classes)]
        self.net = nn.Sequential(nn.Flatten(), *layers)
        for layer in layers[::2]:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Normalized images (B, C, H, W) -> logits (B, K)."""
        return self.net(images * STD + MEAN)
