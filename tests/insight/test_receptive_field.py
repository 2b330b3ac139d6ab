"""Map geometry agrees with the receptive fields that gradients show."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from src.insight.receptive_field import MapGeometry, find_geometry, project
from src.models.lenet import LeNet
from src.models.resnet import ResNet
from tests.insight.striped_patches import SHAPE


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(1, 2, 5, padding=2), nn.AvgPool2d(2), nn.Conv2d(2, 3, 5)),
        nn.Sequential(nn.ZeroPad2d((3, 0, 1, 0)), nn.Conv2d(1, 2, 3, stride=2), nn.Conv2d(2, 2, (1, 3), dilation=2)),
        nn.Sequential(nn.Conv2d(1, 2, 5, padding="same"), nn.AdaptiveAvgPool2d(7), nn.Conv2d(2, 2, 3, padding=1)),
        nn.Sequential(nn.Upsample(scale_factor=2.0), nn.Conv2d(1, 2, 2, stride=2), nn.AvgPool2d(3, 2, 1)),
    ],
    ids=["lenet", "padded on one side", "adaptive", "enlarged"],
)
def test_geometry_is_the_center_of_the_gradients(net):
    """The center of the pixels that an inner value depends on, found by differentiation."""
    images = torch.rand(1, *SHAPE, requires_grad=True)
    maps, geometry = net(images), find_geometry(net, SHAPE, net[-1])
    for index in (2, 3):
        (gradients,) = torch.autograd.grad(maps[0, 0, index, index], images, retain_graph=True)
        rows, columns = (gradients[0, 0].abs().sum(axis).nonzero().flatten().float() for axis in (1, 0))
        center = ((rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2)
        expected = [first + index * step for first, step in zip(geometry.first, geometry.step, strict=True)]
        assert torch.stack(center).tolist() == pytest.approx(expected, abs=0.01)


def test_geometry_of_known_networks():
    lenet = LeNet(SHAPE, 10)
    assert find_geometry(lenet, SHAPE, lenet.features[3]) == MapGeometry((4.5, 4.5), (2.0, 2.0))  # row 9 at pixel 22.5
    deslanting = LeNet(SHAPE, 10, deslant=True)
    assert find_geometry(deslanting, SHAPE, deslanting.features[4]) == MapGeometry((4.5, 4.5), (2.0, 2.0))
    resnet = ResNet(SHAPE, 10)
    assert find_geometry(resnet, SHAPE, resnet.stages[2]) == MapGeometry((0.0, 0.0), (4.0, 4.0))  # both paths agree
    # Cropped by indexing, not by a layer: the geometry after it is unknown.
    cropping = nn.Sequential(Crop(), nn.Conv2d(1, 1, 3))
    assert find_geometry(cropping, SHAPE, cropping[1]) is None
    maps = torch.rand(1, 1, 4, 4)
    stretched = F.interpolate(maps, (28, 28), mode="bilinear", align_corners=False)
    assert torch.allclose(project(maps, None, (28, 28)), stretched, atol=1e-5)


class Crop(nn.Module):
    """Removes the first rows and columns."""

    def forward(self, images):
        return images[..., 3:, 3:]
