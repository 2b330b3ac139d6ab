"""Attributions have the properties that their definitions promise."""

import pytest
import torch
from torch import nn

from src.errors import InputError
from src.insight.attribution import (
    METHODS,
    completeness_error,
    gradient,
    integrated_gradients,
    occlusion,
    saliency,
    smooth_grad,
)
from src.insight.features import feature_maps, maximize_activation
from src.models.lenet import LeNet
from src.models.structure import predict_logits
from tests.insight.striped_patches import SHAPE, NormalizedNet, small_net, striped_patches

QUICK = {  # less work than the defaults
    "integrated_gradients": {"steps": 8},
    "smooth_grad": {"samples": 4},
    "occlusion": {"patch_px": 7, "stride_px": 7},
}


def explain(name: str, net: nn.Module, images: torch.Tensor, *targets, **options) -> torch.Tensor:
    """A method's maps, with quick options."""
    return METHODS[name](net, images, *targets, **QUICK.get(name, {}), **options)


class Linear(nn.Module):
    """Logits that are a linear function of pixels."""

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, images):
        return torch.einsum("bchw,kchw->bk", images, self.weight) + 3


def test_attributions_of_a_linear_network_are_its_weights():
    weight = torch.randn(4, 3, 9, 7)
    images, targets = 255 * torch.rand(5, 3, 9, 7), torch.tensor([0, 1, 2, 3, 0])
    net, weights = Linear(weight), weight[targets]
    assert torch.allclose(gradient(net, images, targets), weights)
    assert torch.allclose(smooth_grad(net, images, targets, samples=3), weights, atol=1e-5)
    assert torch.allclose(saliency(net, images, targets), weights.abs().amax(1, keepdim=True))
    maps = integrated_gradients(net, images, targets, baseline=7.0, steps=1)
    assert torch.allclose(maps, weights * (images - 7), rtol=1e-4, atol=1e-3)
    # Covering one pixel removes its weight times its grey level.
    maps = occlusion(net, images, targets, patch_px=1, stride_px=1)
    assert torch.allclose(maps, (weights * images).sum(1, keepdim=True), rtol=1e-3, atol=1e-2)


def test_integrated_gradients_are_complete_and_more_steps_reduce_the_error(stripe_net):
    images, _, _ = striped_patches(12, seed=3)
    targets = torch.arange(12) % 2
    errors = []
    for steps in (2, 16, 128):
        maps = integrated_gradients(stripe_net, images, targets, steps=steps)
        error = completeness_error(stripe_net, images, maps, targets)
        black = predict_logits(stripe_net, torch.zeros(1, *SHAPE)).expand(12, 2)
        rise = (predict_logits(stripe_net, images) - black).gather(1, targets.view(-1, 1)).squeeze(1)
        assert torch.allclose(maps.sum((1, 2, 3)) - rise, error, atol=1e-4)
        errors.append(float(error.abs().mean() / rise.abs().mean()))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[2] < 4e-3


def test_integrated_gradients_explain_the_difference_from_any_baseline(stripe_net):
    images, _, _ = striped_patches(4, seed=4)
    baseline = images.roll(1, 0)  # images of the other class
    maps = integrated_gradients(stripe_net, images, torch.ones(4, dtype=torch.long), baseline=baseline, steps=200)
    rise = (predict_logits(stripe_net, images) - predict_logits(stripe_net, baseline))[:, 1]
    assert torch.allclose(maps.sum((1, 2, 3)), rise, atol=0.02 * float(rise.abs().max()))


class Constant(nn.Module):
    """The same output for every image; connected: whether the graph leads to the image, with weights of 0."""

    def __init__(self, connected: bool):
        super().__init__()
        self.conv, self.connected = nn.Conv2d(1, 2, 3), connected
        nn.init.zeros_(self.conv.weight)

    def forward(self, images):
        return self.conv(images).mean((2, 3)) + 1 if self.connected else torch.ones(len(images), 2)


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("name", list(METHODS))
def test_attributions_of_a_constant_network_are_zero(name, connected):
    if name == "grad_cam" and not connected:
        pytest.skip("no layer leads to the output")
    maps = explain(name, Constant(connected), 255 * torch.rand(3, *SHAPE))
    assert maps.shape == (3, 1, 28, 28)
    assert maps.count_nonzero() == 0


@pytest.mark.parametrize("name", list(METHODS))
def test_maps_have_the_image_size_and_do_not_depend_on_the_batch(name, stripe_net):
    images, _, _ = striped_patches(7, seed=5)
    maps = explain(name, stripe_net, images)
    assert maps.shape == (7, 1, 28, 28)
    assert maps.isfinite().all()
    assert torch.equal(maps, explain(name, stripe_net, images))
    assert torch.allclose(maps, explain(name, stripe_net, images, batch_size=3), atol=1e-4 * float(maps.max()))
    alone = explain(name, stripe_net, images[4:5], torch.tensor([int(predict_logits(stripe_net, images)[4].argmax())]))
    assert torch.allclose(maps[4:5], alone, atol=1e-4 * float(maps.max()))
    assert torch.allclose(explain(name, stripe_net, images.byte()), explain(name, stripe_net, images.byte().float()))


@pytest.mark.parametrize("name", list(METHODS))
def test_the_network_is_left_as_it_was(name):
    net = LeNet(SHAPE, 10, batch_norm=True, dropout=0.5).train()
    net.features[0].eval()
    modes = [module.training for module in net.modules()]
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with torch.no_grad():  # gradients are computed within no_grad as well
        explain(name, net, 255 * torch.rand(2, *SHAPE))
    assert [module.training for module in net.modules()] == modes
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean rank correlation of the maps of the same images (Spearman)."""
    ranks = [maps.flatten(1).argsort(1).argsort(1).double() for maps in (one, other)]
    return float(torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(*ranks, strict=True)]).mean())


@pytest.mark.parametrize("name", list(METHODS))
def test_maps_depend_on_the_weights(name, stripe_net):
    """The sanity check of Adebayo et al. 2018, arXiv:1810.03292: a method whose maps survive new random
    weights shows the image, not the network."""
    images, labels, _ = striped_patches(8, seed=6)
    maps = explain(name, stripe_net, images, labels)
    torch.manual_seed(7)
    random = [explain(name, NormalizedNet(small_net()), images, labels) for _ in range(6)]
    mean = sum(correlation(maps, other) for other in random) / len(random)
    assert correlation(maps, explain(name, stripe_net, images, labels)) == pytest.approx(1)
    assert abs(mean) < 0.35, mean


@pytest.mark.parametrize("name", ["grad_cam", "occlusion"])
def test_the_striped_patch_is_found(name, stripe_net):
    images, labels, masks = striped_patches(40, seed=8)
    maps = METHODS[name](stripe_net, images, labels).squeeze(1)
    peaks = maps.flatten(1).argmax(1)
    assert masks.flatten(1).gather(1, peaks.view(-1, 1)).float().mean() >= 0.95
    inside = (maps.clamp(min=0) * masks).sum((1, 2)) / maps.clamp(min=0).sum((1, 2))
    assert inside.median() > 3 * 64 / 784  # three times the patch's fraction of the image


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x: integrated_gradients(net, x, steps=0), "steps=0"),
        (lambda net, x: smooth_grad(net, x, samples=0), "samples=0"),
        (lambda net, x: smooth_grad(net, x, noise=-1), "noise=-1"),
        (lambda net, x: occlusion(net, x, patch_px=29), "patch_px=29"),
        (lambda net, x: occlusion(net, x, patch_px=4, stride_px=5), "stride_px=5"),
        (lambda net, x: saliency(net, x, torch.tensor([0, 1])), "2 for 1"),
        (lambda net, x: feature_maps(net, x, ["features.9"]), "layer=features.9"),
        (lambda net, x: maximize_activation(net, SHAPE, torch.tensor([0]), steps=0), "steps=0"),
    ],
)
def test_an_invalid_value_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(LeNet(SHAPE, 10), torch.zeros(1, *SHAPE))


def test_smooth_grad_is_determined_by_its_seed(stripe_net):
    images, _, _ = striped_patches(2, seed=9)
    one, two, other = (smooth_grad(stripe_net, images, samples=4, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.allclose(one, other)
    assert torch.equal(smooth_grad(stripe_net, images, noise=0.0, samples=2), gradient(stripe_net, images))
