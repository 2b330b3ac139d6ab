"""Feature maps, filters, activation maximization and nearest features."""

import math

import pytest
import torch

from src.errors import InputError
from src.insight.explain_batch import enclosing_block
from src.insight.features import blur, conv_filters, feature_maps, maximize_activation, nearest_features
from src.insight.summary import condense, summarize
from src.models.lenet import LeNet
from src.models.mlp import MLP
from src.models.resnet import ResNet
from src.models.structure import predict_logits
from tests.insight.striped_patches import SHAPE, striped_patches


def test_feature_maps_are_those_of_the_forward_pass():
    net, images = LeNet(SHAPE, 10, dropout=0.5), 255 * torch.rand(3, *SHAPE)
    maps = feature_maps(net, images, batch_size=2)
    assert list(maps)[:3] == ["features.0", "features.1", "features.2"]
    net.eval()
    assert torch.allclose(maps["features.0"], net.features[0](images))
    assert torch.allclose(maps["head.6"], net(images), atol=1e-5)
    assert conv_filters(net, SHAPE)["features.3"].shape == (16, 6, 5, 5)
    assert conv_filters(MLP(SHAPE, 10), SHAPE)["head.0"].shape == (128, 1, 28, 28)


def test_a_condensed_residual_network_shows_whole_blocks():
    net = ResNet(SHAPE, 10)
    summary = summarize(net, SHAPE)
    blocks = {la.name: la for la in (enclosing_block(group, summary, net) for group in condense(summary) if group.name)}
    assert list(blocks)[:3] == ["stages.0", "stages.1", "stages.2"]  # not the side path stages.1.shortcut
    maps = feature_maps(net, torch.rand(1, *SHAPE), list(blocks))
    assert all(tuple(maps[name].shape[1:]) == la.output for name, la in blocks.items())
    chain = LeNet(SHAPE, 10)
    summary = summarize(chain, SHAPE)
    assert "features.5" in [enclosing_block(group, summary, chain).name for group in condense(summary)]


def test_class_images_maximize_their_class(stripe_net):
    columns = torch.tensor([0, 1, 1])
    images = maximize_activation(stripe_net, SHAPE, columns, torch.tensor([1, 1, -1]))
    assert images.shape == (3, 1, 28, 28)
    assert 0 <= images.min() <= images.max() <= 255
    assert torch.equal(images, maximize_activation(stripe_net, SHAPE, columns, torch.tensor([1, 1, -1])))
    maximized, black = predict_logits(stripe_net, images), predict_logits(stripe_net, torch.zeros(1, *SHAPE))[0]
    real = predict_logits(stripe_net, striped_patches(50, seed=10)[0])
    assert maximized[0, 0] > real[:, 0].max()
    assert maximized[1, 1] > real[:, 1].max()
    assert maximized[2, 1] < black[1]


def test_blur_preserves_the_sum_and_has_the_given_variance():
    image = torch.zeros(1, 2, 21, 21)
    image[:, :, 10, 10] = 1
    blurred = blur(image, 2.0)
    assert float(blurred.sum()) == pytest.approx(2)
    rows = torch.arange(21.0) - 10
    assert float((blurred[0, 0].sum(1) * rows**2).sum()) == pytest.approx(4, rel=0.05)
    assert torch.equal(blur(image, 0), image)


def test_nearest_features_exclude_the_image_itself():
    bank = torch.randn(50, 8)
    distances, rows = nearest_features(bank[[3, 7]], bank, 4, exclude=torch.tensor([3, -1]))
    by_hand = (bank - bank[3]).norm(dim=1)
    by_hand[3] = math.inf
    assert rows[0].tolist() == by_hand.argsort()[:4].tolist()
    assert rows[1, 0] == 7
    assert float(distances[1, 0]) == pytest.approx(0, abs=1e-2)
    with pytest.raises(InputError, match="too few"):
        nearest_features(bank[:1], bank[:1], 3, exclude=torch.tensor([0]))
