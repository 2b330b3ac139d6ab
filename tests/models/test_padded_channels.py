"""Added channels of zeros change nothing that anybody sees."""

import copy

import pytest
import torch
from torch import nn

from src.finetune.lora import LoRA
from src.models.lenet import LeNet
from src.models.memory_format import set_memory_format
from src.models.padded_channels import _channels_to_add, run_layers

SHAPE = (1, 28, 28)


def conv(inputs, outputs, **options):
    return nn.Conv2d(inputs, outputs, 3, **options)


@pytest.mark.parametrize(
    ("layers", "added"),
    [
        ([conv(1, 6), nn.MaxPool2d(2), nn.ReLU(), conv(6, 16)], [2, 0, 0, 0]),
        ([conv(1, 7), conv(7, 14), nn.Tanh(), conv(14, 6)], [1, 2, 0, 0]),
        ([conv(1, 5), nn.ReLU(), conv(5, 16)], [0, 0, 0]),  # three channels more cost as much as they gain
        ([conv(1, 8), nn.ReLU(), conv(8, 16)], [0, 0, 0]),
        ([conv(1, 6), nn.BatchNorm2d(6), conv(6, 16)], [0, 0, 0]),
        ([conv(1, 6), nn.Flatten(), conv(6, 16)], [0, 0, 0]),
        ([conv(1, 6), nn.ReLU(), conv(6, 18, groups=6)], [0, 0, 0]),
        ([conv(1, 6), nn.ReLU(), conv(6, 16, padding=1, padding_mode="circular")], [0, 0, 0]),
        ([nn.ReLU(), conv(1, 6)], [0, 0]),
    ],
)
def test_channels_are_added_between_plain_convolutions(layers, added):
    assert _channels_to_add(nn.Sequential(*layers)) == added


@pytest.mark.parametrize("options", [{}, {"activation": "sigmoid"}, {"pooling": "avg", "activation": "gelu"}])
def test_logits_and_gradients_are_those_without_them(options, monkeypatch):
    plain = LeNet(SHAPE, 10, **options)
    padded = copy.deepcopy(plain)
    set_memory_format(padded, SHAPE)
    images, widths = torch.randn(4, *SHAPE), []
    convolve = nn.functional.conv2d
    monkeypatch.setattr(nn.functional, "conv2d", lambda *args: widths.append(args[1].shape[:2]) or convolve(*args))
    for model in (plain, padded):
        model(images).square().sum().backward()
    assert widths == [(6, 1), (16, 6), (8, 1), (16, 8)]
    for ours, theirs in zip(padded.parameters(), plain.parameters(), strict=True):
        assert ours.shape == theirs.shape and ours.grad.shape == ours.shape
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4 * float(theirs.grad.abs().max()))


@pytest.mark.parametrize("layer", ["features", "features.0", "features.1", "features.3"])
@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward"])
def test_a_hook_sees_the_channels_that_the_network_has(layer, kind):
    model, seen = LeNet(SHAPE, 10), []
    set_memory_format(model, SHAPE)
    register = getattr(model.get_submodule(layer), f"register_{kind}_hook")
    handle = register(lambda module, *args: seen.append([t.shape for part in args for t in part if t is not None]))
    model(torch.randn(2, *SHAPE, requires_grad=True)).sum().backward()
    handle.remove()
    assert len(seen) == 1 and not any(8 in shape[1:2] for shape in seen[0])


def test_a_low_rank_change_of_the_weights_is_computed_with_them():
    torch.manual_seed(0)
    model = LoRA(rank=2).adapt(LeNet(SHAPE, 10), SHAPE)
    for name, parameter in model.named_parameters():
        if name.endswith(".b"):
            nn.init.normal_(parameter)
    other = copy.deepcopy(model)
    set_memory_format(other, SHAPE)
    images = torch.randn(3, *SHAPE)
    torch.testing.assert_close(model(images), other(images), rtol=1e-3, atol=1e-3)


def test_the_last_layer_returns_its_own_channels():
    layers = nn.Sequential(conv(1, 7), nn.ReLU(), conv(7, 6))
    set_memory_format(layers, (1, 9, 9), "channels_last")
    images = torch.randn(2, 1, 9, 9)
    assert run_layers(layers, images).shape == (2, 6, 5, 5)
    torch.testing.assert_close(run_layers(layers, images), layers(images))
