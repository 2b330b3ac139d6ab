"""LoRA and DoRA: formulas, merging, and which layers change."""

import copy

import pytest
import torch
from torch import nn

from src.errors import InputError
from src.finetune.lora import DoRA, LoRA
from tests.conf_options import SHAPE, make_model

CONVOLUTIONS = {
    "stride": {"stride": 2},
    "reflect": {"padding": 2, "padding_mode": "reflect"},
    "circular": {"padding": 1, "padding_mode": "circular"},
    "dilation": {"dilation": 2, "padding": 2},
    "groups": {"groups": 2},
    "depthwise": {"groups": 4, "padding": "same"},
}


@pytest.mark.parametrize("kind", [LoRA, DoRA])
@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_low_rank_changes_are_initially_the_identity_and_merge_exactly(kind, options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 8, 3, **options), nn.ReLU(), nn.Flatten(), nn.LazyLinear(12), nn.Linear(12, 10))
    images = torch.randn(5, 4, 11, 11)
    before = model(images)
    method = kind(rank=2)
    model = method.adapt(model, (4, 11, 11))
    assert torch.allclose(model(images), before, atol=1e-6)
    for parameter in method.trainable_parameters(model, 0, 1):
        parameter.data += 0.1 * torch.randn_like(parameter)
    changed = model(images)
    assert not torch.allclose(changed, before, atol=1e-2)
    keys = {"0.weight", "0.bias", "3.weight", "3.bias", "4.weight", "4.bias"}
    method.merge(model)
    assert set(model.state_dict()) == keys
    assert model(images).equal(changed)


def test_lora_matches_its_formula():
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 6, 3, stride=2, padding=1)
    model = nn.Sequential(copy.deepcopy(layer), nn.Flatten(), nn.LazyLinear(3))
    images = torch.randn(2, 4, 9, 9)
    model(images)
    method = LoRA(rank=3, alpha=6.0, targets=["0"])
    method.adapt(model, (4, 9, 9))
    change = model[0].parametrizations.weight[0]
    change.b.data.normal_()
    delta = 2.0 * (change.b @ change.a).view(6, 4, 3, 3)
    expected = nn.functional.conv2d(images, layer.weight + delta, layer.bias, stride=2, padding=1)
    assert torch.allclose(model[0](images), expected, atol=1e-5)


def test_dora_learns_norm_and_direction_separately():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    weight = model[0].weight.detach().clone()
    DoRA(rank=2).adapt(model, (1, 1, 6))
    change = model[0].parametrizations.weight[0]
    change.magnitude.data *= 3
    assert torch.allclose(model[0].weight, 3 * weight, atol=1e-6)
    change.b.data.normal_()
    assert torch.allclose(model[0].weight.norm(dim=1, keepdim=True), change.magnitude, atol=1e-5)


@pytest.mark.parametrize("kind", [LoRA, DoRA])
def test_invalid_ranks_and_targets_are_refused(kind):
    with pytest.raises(InputError, match=r"finetune\.rank=200.*head\.0: give at most 120"):
        kind(rank=200).adapt(make_model("lenet"), SHAPE)
    with pytest.raises(InputError, match=r"finetune\.rank=7.*features\.0: give at most 6"):
        kind(rank=7, targets="features.0").adapt(make_model("lenet"), SHAPE)
    with pytest.raises(InputError, match=r"no layer is called nothing: one of features\.0, .*head\.4"):
        kind(targets=["nothing"]).adapt(make_model("lenet"), SHAPE)
    with pytest.raises(InputError, match=r"finetune\.rank=0"):
        kind(rank=0)
