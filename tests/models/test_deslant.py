"""Deslant: digits sheared upright."""

import pytest
import torch

from src.models.deslant import Deslant
from src.models.lenet import LeNet

SHAPE = (1, 28, 28)


def slanted(slope: float) -> torch.Tensor:
    """A stroke across the middle of an image, each row `slope` pixels further left than the one above."""
    rows, columns = torch.arange(28.0).view(28, 1), torch.arange(28.0).view(1, 28)
    stroke = (1 - (columns - 13.5 + slope * (rows - 13.5)).abs() / 2.5).clamp(min=0)
    return (stroke * ((rows > 3) & (rows < 24))).view(1, 1, 28, 28)


def slant_of(images: torch.Tensor) -> float:
    return float(Deslant().shears(images[:, 0] - images.amin())[0, 0, 1])


@pytest.mark.parametrize("slope", [-0.5, -0.2, 0.3, 0.6])
def test_deslant_makes_digits_upright(slope):
    images = slanted(slope) * 2.8 - 0.4
    assert slant_of(images) == pytest.approx(-slope, abs=0.03)
    upright = Deslant()(images)
    assert abs(slant_of(upright)) < 0.02
    assert (upright - (slanted(0.0) * 2.8 - 0.4)).abs().mean() < 0.05
    assert upright.amin() == pytest.approx(-0.4, abs=1e-5)


def test_deslant_treats_each_image_alone_and_keeps_blank_ones():
    images = torch.cat([slanted(0.4), slanted(-0.3) * 5 - 2, torch.full((1, 1, 28, 28), -0.42)])
    batched = Deslant()(images)
    for index in range(3):
        torch.testing.assert_close(batched[index : index + 1], Deslant()(images[index : index + 1]))
    torch.testing.assert_close(batched[2], images[2])
    torch.testing.assert_close(Deslant()(images * 3 + 1), batched * 3 + 1)  # whatever the normalisation


def test_deslant_takes_any_shape_has_no_parameters_and_passes_gradients():
    images = torch.rand(2, 3, 20, 31, requires_grad=True)
    Deslant()(images).sum().backward()
    assert images.grad.abs().sum() > 0
    assert Deslant().state_dict() == {}
    with_deslant, without = LeNet(SHAPE, 10, deslant=True), LeNet(SHAPE, 10)
    assert [p.shape for p in with_deslant.parameters()] == [p.shape for p in without.parameters()]
