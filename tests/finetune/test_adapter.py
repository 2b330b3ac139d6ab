"""Adapters and prompts: initially the identity, and where they change the network."""

import pytest
import torch
from torch import nn

from src.errors import InputError
from src.finetune.adapter import Bottleneck, Prompt
from tests.conf_options import SHAPE, make_method, make_model


@pytest.mark.parametrize("option", ["adapter", "prompt"])
def test_added_modules_are_initially_the_identity(option):
    model, images = make_model("resnet").eval(), torch.randn(3, 1, 28, 28)
    before = model(images)
    method = make_method(option)
    model = method.adapt(model, SHAPE).eval()
    assert torch.allclose(model(images), before, atol=1e-6)


def test_a_prompt_changes_only_the_border_and_the_offset():
    model = Prompt(border_px=3).adapt(nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(784, 10)), SHAPE)
    model.border.data.fill_(5.0)
    inputs = []
    model.net.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    model(torch.zeros(1, 1, 28, 28))
    assert float(inputs[0].detach()[0, 0, 3:25, 3:25].abs().max()) == 0
    assert float(inputs[0].detach().sum()) == 5 * (28 * 28 - 22 * 22)
    with pytest.raises(InputError, match=r"border_px=15: at most 14"):
        Prompt(border_px=15).adapt(model, SHAPE)


def test_a_bottleneck_fits_its_layer():
    assert Bottleneck(nn.Conv2d(3, 5, 3), 2)(torch.ones(1, 5, 4, 4)).equal(torch.ones(1, 5, 4, 4))
