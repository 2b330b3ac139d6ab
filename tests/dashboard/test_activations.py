"""Activations are recorded without side effects; dead units are found."""

import pytest
import torch
from torch import nn

from src.dashboard.activations import histogram, record_activations
from src.models.lenet import LeNet
from src.models.resnet import ResNet
from tests.short_runs import assert_same


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "tanh", "sigmoid"])
def test_dead_units_are_found(activation):
    net = LeNet((1, 28, 28), 10, activation=activation, pooling="avg")
    batches = [torch.randn(20, 1, 28, 28, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    with torch.no_grad():
        for layer, dead in ((net.features[0], 2), (net.head[0], 30)):
            layer.bias.uniform_(0.5, 1.0)  # all other units respond
            layer.weight[:dead], layer.bias[:dead] = 0, -50.0
    layers = record_activations(net, batches).layers
    first, third = layers["features.0"].dead, layers["head.0"].dead
    assert first.tolist() == [True] * 2 + [False] * 4
    assert third[:30].all()
    assert not third[30:].any()
    assert layers["head.4"].dead is None
    assert layers["features.0"].maps is None


def test_an_activation_belongs_to_the_convolution_before_it():
    net = ResNet((1, 28, 28), 10, (4, 8))
    layers = record_activations(net, [torch.randn(4, 1, 28, 28)], num_images=2).layers
    after = {name: layer.activation for name, layer in layers.items()}
    assert {after[name] for name in ("stem.0", "stages.1.conv1", "stages.1.conv2")} == {nn.ReLU}
    assert {after[name] for name in ("stages.1.shortcut.0", "head.1")} == {None}
    assert layers["stages.1.conv2"].maps.shape == (2, 8, 14, 14)
    assert float(layers["stages.1.conv2"].low.min()) == 0


def test_recording_changes_no_mode_statistic_or_random_state():
    net = LeNet((1, 28, 28), 10, batch_norm=True, dropout=0.5)
    net.train()
    net.features[1].eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    images = torch.randn(8, 1, 28, 28)
    state = torch.get_rng_state()
    record_activations(net, [images], num_images=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in net.modules()] == modes
    assert_same(dict(net.state_dict()), before)


def test_a_histogram_counts_the_finite_values():
    values = torch.tensor([0.0, 0.0, 1.0, float("nan"), float("inf"), -1.0])
    found = histogram(values)
    assert (found.low, found.high, found.count, found.total, sum(found.counts)) == (-1, 1, 4, 0, 4)
    assert len(found.edges) == len(found.counts)
    for constant_value in (0.0, 3.0, -1e8, 1e-12):
        found = histogram(torch.full((5, 2), constant_value))
        assert sum(found.counts) == 10
        assert found.edges == sorted(found.edges)
    assert histogram(torch.tensor([float("nan")])) is None
