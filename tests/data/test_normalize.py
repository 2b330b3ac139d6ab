"""Statistics and normalisation."""

import pytest
import torch

from src.data.datamodule import ImageData
from src.data.normalize import Normalize, channel_statistics


@pytest.mark.slow
def test_statistics_of_mnist_are_the_published_ones(mnist_root):
    images = ImageData(root=str(mnist_root), download=False).source.train().images
    mean, std = channel_statistics(images, torch.arange(60_000))
    assert mean[0] == pytest.approx(0.1306605, abs=1e-7)
    assert std[0] == pytest.approx(0.3081079, abs=1e-7)


def test_normalize_is_its_definition():
    images = torch.randint(0, 256, (4, 3, 5, 5), dtype=torch.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    expected = (images / 255 - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    assert torch.allclose(Normalize(mean, std)(images), expected, atol=1e-6)
