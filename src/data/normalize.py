"""Normalisation of grey levels, and the statistics it needs."""

import torch
from torch import Tensor, nn

from src.data.source import Images

SAMPLE_SIZE = 2_000  # pictures that are decoded to measure a data set that is not held in memory
CHUNK = 4_096


class Normalize(nn.Module):
    """(images / 255 - mean) / std per channel, as one multiplication and one subtraction; any real dtype to float32.

    mean, std: per channel, of grey levels scaled to 0..1; std > 0.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.mean, self.std = tuple(mean), tuple(std)
        scale = torch.tensor([1 / (255 * s) for s in std]).view(1, -1, 1, 1)
        offset = torch.tensor([m / s for m, s in zip(mean, std, strict=True)]).view(1, -1, 1, 1)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("offset", offset, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        if self.scale.device != images.device:
            self.to(images.device)
        return torch.mul(images, self.scale).sub_(self.offset)


def channel_statistics(images: Images, rows: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of grey levels scaled to 0..1, over `rows` of `images`.

    Images that are not held in memory are sampled: 2,000, evenly spaced. A constant channel gets std 1/255.
    """
    if not isinstance(images, Tensor):
        rows = rows[:: max(1, len(rows) // SAMPLE_SIZE)]
    channels = images.shape[1]
    total, squares = torch.zeros(channels, dtype=torch.double), torch.zeros(channels, dtype=torch.double)
    for chunk in rows.split(CHUNK):
        values = images.index_select(0, chunk).transpose(0, 1).reshape(channels, -1).float()
        total += values.sum(1, dtype=torch.double)
        squares += (values * values).sum(1, dtype=torch.double)
    count = len(rows) * images.shape[2] * images.shape[3]
    mean = total / count
    std = (squares / count - mean * mean).clamp_min(0).sqrt().clamp_min(1)
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())
