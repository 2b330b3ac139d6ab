"""Channel pruning: silent channels go first, and so much arithmetic is left."""

import math

import pytest
import torch
from torch import nn

from src.errors import InputError
from src.finetune.adapter import Adapter
from src.finetune.channels import Channels
from src.finetune.prune import Prune
from src.insight.summary import summarize
from src.models.cnn import CNN
from src.models.convnet import ConvNet
from src.models.lenet import LeNet
from src.models.mlp import MLP
from src.models.resnet import ResNet

SHAPE = (1, 28, 28)
NETWORKS = {
    "cnn": (CNN, {}),
    "cnn_norm": (CNN, {"batch_norm": True, "activation": "gelu", "pooling": "avg"}),
    "convnet": (ConvNet, {}),
    "lenet": (LeNet, {"deslant": True}),
    "lenet_norm": (LeNet, {"batch_norm": True, "padded": False, "activation": "silu", "dropout": 0.1}),
    "lenet_unfold": (LeNet, {"convolution": "unfold"}),
    "mlp": (MLP, {"hidden": [64, 32]}),
    "resnet": (ResNet, {"blocks": 2}),
}


def network(name: str) -> tuple[nn.Module, type, dict]:
    kind, options = NETWORKS[name]
    model = kind(SHAPE, 10, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_(0, 0.1)
    return model.eval(), kind, options


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Prune(sparsity=1.0), "sparsity=1.0: a number, above 0, below 1"),
        (lambda: Prune(scope="all"), "scope=all: one of global, layer, lamp"),
        (lambda: Prune(until=0), "until=0"),
        (lambda: Channels(keep=0), "keep=0: a number, above 0, below 1"),
        (lambda: Channels(by="luck"), "by=luck: one of"),
        (lambda: Channels(spread="even"), "spread=even: one of"),
        (lambda: Channels(multiple=0), "multiple=0"),
        (lambda: Channels(by="scale").adapt(LeNet(SHAPE, 10), SHAPE), "no batch norm"),
        (lambda: Channels(keep=1e-6).adapt(LeNet(SHAPE, 10), SHAPE), "needs at least"),
        (lambda: Channels().adapt(MLP(SHAPE, 10, hidden=()), SHAPE), "no channels that can be removed"),
        (lambda: Channels().adapt(Adapter().adapt(LeNet(SHAPE, 10), SHAPE), SHAPE), "without added modules"),
        (lambda: CNN(SHAPE, 10, widths=(16,)), r"model.widths=\(16,\): 2 widths"),
        (lambda: ConvNet(SHAPE, 10, hidden=(0,)), "model.hidden"),
        (lambda: ResNet(SHAPE, 10, inner=(4,)), "model.inner=.*3 widths"),
    ],
)
def test_invalid_options_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("name", NETWORKS)
def test_removing_silent_channels_changes_no_output(name):
    from src.finetune.prunable import find_prunable_layers

    model, kind, options = network(name)
    for unit in find_prunable_layers(model):
        silent = torch.randperm(unit.width)[: math.ceil(unit.width / 2)]
        for module in (unit.layer, unit.norm) if unit.norm is not None else (unit.layer,):
            for key in ("weight", "bias", "running_mean"):
                if getattr(module, key, None) is not None:
                    getattr(module, key).data[silent] = 0
    images = torch.randn(5, *SHAPE)
    with torch.no_grad():
        before = model(images)
        method = Channels(keep=0.6, multiple=1)
        after = method.adapt(model, SHAPE)
        torch.testing.assert_close(after(images), before, atol=2e-5, rtol=1e-4)
        fresh = kind(SHAPE, 10, **method.adapt_config(options)).eval()
        fresh.load_state_dict(after.state_dict())
        assert fresh(images).equal(after(images)), "a plain network of the same class"


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("spread", ["uniform", "greedy"])
@pytest.mark.parametrize("multiple", [1, 16])
def test_the_share_of_multiply_adds_that_is_kept(name, spread, multiple):
    model, _, _ = network(name)
    before = summarize(model, SHAPE).multiply_adds
    method = Channels(keep=0.5, spread=spread, multiple=multiple)
    share = summarize(method.adapt(model, SHAPE), SHAPE).multiply_adds / before
    assert share <= (0.501 if name == "lenet" else 0.5), "setting upright costs a little and stays"
    if multiple == 1:
        assert share > 0.38, "and no less than must be"
    elif name.startswith("cnn"):
        assert method.widths["widths"] == [16, 16]
        assert share > 0.49, "neurons fill up what blocks leave"


def test_the_strongest_channels_stay():
    model = MLP(SHAPE, 10, hidden=(8,))
    with torch.no_grad():
        model.head[0].weight.copy_(torch.arange(1, 9).view(8, 1).expand(8, 784))
        kept = model.head[2].weight[:, 4:].clone()
    Channels(keep=0.5, by="weights").adapt(model, SHAPE)
    assert model.head[0].weight[:, 0].tolist() == [5, 6, 7, 8]
    assert model.head[2].weight.equal(kept)
