"""A predictor without training, and pictures that it tells apart."""

from pathlib import Path

import pytest
import torch
from torch import nn

from src.data.info import DataInfo
from tests.picture_files import write_pictures


class InkThirds(nn.Module):
    """Predicts the third of the image with the most ink: class 0 at the top, 1 in the middle, 2 at the bottom."""

    info = DataInfo((1, 28, 28), tuple("0123456789"), (0.1,), (0.3,))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        ink = images.float().mean((1, 3)) / 5
        thirds = [ink[:, :9].sum(1, True), ink[:, 9:19].sum(1, True), ink[:, 19:].sum(1, True)]
        return torch.cat([*thirds, torch.zeros(len(images), 7)], 1)

    def probs(self, images: torch.Tensor) -> torch.Tensor:
        return self(images).softmax(1)


@pytest.fixture
def predictor() -> InkThirds:
    return InkThirds()


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Pictures of the classes 0, 1 and 2, an empty one, and a file that is not a picture."""
    return write_pictures(tmp_path / "pictures")
