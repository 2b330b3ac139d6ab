"""Fixtures of this room."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from src.models.structure import predict_logits
from tests.insight.striped_patches import NormalizedNet, small_net, striped_patches


@pytest.fixture(scope="module")
def stripe_net() -> nn.Module:
    """A network trained to tell horizontal from vertical stripes anywhere in the image."""
    torch.manual_seed(0)
    net = NormalizedNet(small_net())
    images, labels, _ = striped_patches(512, seed=1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.02)
    for step in range(80):
        rows = torch.arange(step * 64, step * 64 + 64) % 512
        optimizer.zero_grad()
        F.cross_entropy(net(images[rows]), labels[rows]).backward()
        optimizer.step()
    net.zero_grad(set_to_none=True)
    images, labels, _ = striped_patches(100, seed=2)
    assert (predict_logits(net, images).argmax(1) == labels).float().mean() > 0.97
    return net.eval()
