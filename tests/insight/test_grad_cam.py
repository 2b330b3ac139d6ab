"""Grad-CAM: computed by hand, in the right place, on the right layer."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import nn

from src.errors import InputError
from src.insight.features import blur, feature_maps
from src.insight.grad_cam import conv_layers, grad_cam, last_conv
from src.models.cnn import CNN
from src.models.lenet import LeNet
from src.models.mlp import MLP
from src.models.resnet import ResNet
from tests.insight.striped_patches import SHAPE


def test_grad_cam_by_hand():
    """One channel: its map times the mean of its gradients, enlarged."""
    net = nn.Sequential(nn.Conv2d(1, 1, 2, stride=2, bias=False), nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        net[0].weight.fill_(0.25)
        net[2].weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 6.0], [-1.0, -1.0, -1.0, -1.0]]))
    image = torch.tensor([[4.0, 4, 0, 0], [4, 4, 0, 0], [0, 0, 8, 8], [0, 0, 8, 8]]).view(1, 1, 4, 4)
    expected = F.interpolate(3 * torch.tensor([[[[4.0, 0], [0, 8]]]]), (4, 4), mode="bilinear", align_corners=False)
    assert torch.allclose(grad_cam(net, image, torch.tensor([0])), expected)
    assert grad_cam(net, image, torch.tensor([1])).count_nonzero() == 0  # lowers it everywhere


@pytest.mark.parametrize("corner", [(8, 8), (8, 19), (14, 14), (19, 8)])
def test_grad_cam_peaks_at_a_bright_spot(corner):
    """In a network that passes on brightness alone, the map peaks at the bright spot."""
    net = LeNet(SHAPE, 2, pooling="max")
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.01)
    with torch.no_grad():  # narrow kernels, for a sharp peak
        net.features[3].weight.zero_()[:, :, 2, 2] = 0.1
        net.features[0].weight.zero_()[:, :, 2, 2] = 0.1
    image = torch.zeros(1, *SHAPE)
    image[0, 0, corner[0] : corner[0] + 2, corner[1] : corner[1] + 2] = 255
    cam = grad_cam(net, image, torch.tensor([0]), layer="features.3")[0, 0]
    peak = divmod(int(cam.argmax()), 28)
    assert max(abs(a - b - 0.5) for a, b in zip(peak, corner, strict=True)) <= 1.5, peak


def test_a_wrapped_layer_is_found_by_its_own_name():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = LeNet(SHAPE, 10)

        def forward(self, images):
            return self.model(images / 255)

    net, images = Wrapper(), 255 * torch.rand(2, *SHAPE)
    assert torch.equal(grad_cam(net, images, layer="features.0"), grad_cam(net, images, layer="model.features.0"))
    short_name = feature_maps(net, images, ["features.0"])
    assert list(short_name) == ["features.0"]
    assert torch.equal(short_name["features.0"], feature_maps(net, images, ["model.features.0"])["model.features.0"])


def test_grad_cam_of_a_deslanting_network_lies_on_the_original_image():
    """The map of a slanted stroke is slanted, though the network sees the stroke upright."""
    picture = Image.new("L", (28, 28))
    ImageDraw.Draw(picture).line((20, 4, 8, 24), fill=255, width=3)
    image = torch.from_numpy(np.asarray(picture).copy()).view(1, 1, 28, 28).float()
    torch.manual_seed(0)
    net = LeNet(SHAPE, 2, deslant=True)
    nn.init.constant_(net.features[1].weight, 0.01)
    for parameter in [*net.features[4].parameters(), *net.head.parameters()]:
        nn.init.constant_(parameter, 0.01)  # every layer passes on ink
    cam = grad_cam(net, image, torch.tensor([0]), layer="features.1")[0, 0]
    assert torch.corrcoef(torch.stack([cam.flatten(), blur(image, 1.5).flatten()]))[0, 1] > 0.8


def test_grad_cam_needs_a_layer_with_maps():
    images = torch.zeros(1, *SHAPE)
    with pytest.raises(InputError, match="this network has none"):
        grad_cam(MLP(SHAPE, 10), images)
    with pytest.raises(InputError, match=r"features.9 does not exist; convolutions: features.0, features.3"):
        grad_cam(LeNet(SHAPE, 10), images, layer="features.9")
    with pytest.raises(InputError, match=r"head.0 gives no maps"):
        grad_cam(LeNet(SHAPE, 10), images, layer="head.0")


def test_the_last_convolution_is_on_the_main_path():
    assert last_conv(LeNet(SHAPE, 10)) == "features.3"
    assert last_conv(LeNet(SHAPE, 10, batch_norm=True)) == "features.5"  # the norm after it
    assert last_conv(ResNet(SHAPE, 10)) == "stages.2.norm2"  # not the shortcut
    assert last_conv(MLP(SHAPE, 10)) is None
    assert conv_layers(CNN(SHAPE, 10)) == ["features.0", "features.3"]
