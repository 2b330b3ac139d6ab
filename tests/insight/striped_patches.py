"""Images of striped patches, and small networks that read them."""

import torch
from torch import nn

from src.data.info import DataInfo

SHAPE = (1, 28, 28)
INFO = DataInfo(SHAPE, ("horizontal", "vertical"), (0.1,), (0.3,))


def striped_patches(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise with a patch of horizontal or vertical stripes and a plain block of the same brightness.

    Returns grey levels, labels, and masks of the striped patches, bool (N, 28, 28).
    """
    generator = torch.Generator().manual_seed(seed)
    images = 40 * torch.rand(count, 28, 28, generator=generator)
    labels = torch.arange(count) % 2
    masks = torch.zeros(count, 28, 28, dtype=torch.bool)
    stripes = (torch.arange(8) % 2).float().expand(8, 8) * 200
    for row in range(count):
        top, left = torch.randint(1, 19, (2,), generator=generator).tolist()
        images[row, (top + 14) % 19 : (top + 14) % 19 + 8, (left + 10) % 19 : (left + 10) % 19 + 8] = 100
        images[row, top : top + 8, left : left + 8] = stripes if labels[row] else stripes.T
        masks[row, top : top + 8, left : left + 8] = True
    return images.unsqueeze(1), labels, masks


def small_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip


class NormalizedNet(nn.Module):
    """A network that reads raw grey levels."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(images / 128 - 0.3)
