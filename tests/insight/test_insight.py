"""Explanations: the properties that attributions have by their definition, summaries counted by hand, the command."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from PIL import Image, ImageDraw
from torch import nn

from src.cli.inputs import pick_pictures
from src.data.info import DataInfo
from src.errors import InputError
from src.insight import layer_figures
from src.insight.architecture import MOST, architecture, diagram_blocks
from src.insight.attribution import (
    METHODS,
    completeness_error,
    gradient,
    integrated_gradients,
    occlusion,
    saliency,
    smooth_grad,
)
from src.insight.attribution_figures import Case, neighbour_figure
from src.insight.eval_mode import predict_logits
from src.insight.explain_batch import (
    Explanation,
    cases,
    choose_images,
    choose_methods,
    explanation_table,
    records,
    whole,
)
from src.insight.features import blur, conv_filters, feature_maps, maximize_classes, nearest_features
from src.insight.grad_cam import conv_layers, grad_cam, last_conv
from src.insight.receptive_field import MapGeometry, find_geometry, project
from src.insight.summary import condensed, short, show_shape, summarize
from src.insight.summary import summary_table as layer_table
from src.models.cnn import CNN
from src.models.lenet import LeNet
from src.models.mlp import MLP
from src.models.pretrained import Pretrained
from src.models.resnet import ResNet
from src.pictures.inputs import choose_ink, find_pictures, read_given

SHAPE = (1, 28, 28)
INFO = DataInfo(SHAPE, ("horizontal", "vertical"), (0.1,), (0.3,))


def planted(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise with a patch of stripes, lying or standing, and a plain block as bright as it: grey levels, the kind of
    the stripes as label, and where their patch is, bool (N, 28, 28)."""
    generator = torch.Generator().manual_seed(seed)
    images = 40 * torch.rand(count, 28, 28, generator=generator)
    labels = torch.arange(count) % 2
    where = torch.zeros(count, 28, 28, dtype=torch.bool)
    stripes = (torch.arange(8) % 2).float().expand(8, 8) * 200
    for row in range(count):
        top, left = torch.randint(1, 19, (2,), generator=generator).tolist()
        images[row, (top + 14) % 19 : (top + 14) % 19 + 8, (left + 10) % 19 : (left + 10) % 19 + 8] = 100
        images[row, top : top + 8, left : left + 8] = stripes if labels[row] else stripes.T
        where[row, top : top + 8, left : left + 8] = True
    return images.unsqueeze(1), labels, where


def small_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip


class Scaled(nn.Module):
    """A network of raw grey levels, as `load_model` gives them."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(images / 128 - 0.3)


@pytest.fixture(scope="module")
def reader() -> nn.Module:
    """A network that tells lying from standing stripes wherever they are."""
    torch.manual_seed(0)
    net = Scaled(small_net())
    images, labels, _ = planted(512, seed=1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.02)
    for step in range(80):
        rows = torch.arange(step * 64, step * 64 + 64) % 512
        optimizer.zero_grad()
        F.cross_entropy(net(images[rows]), labels[rows]).backward()
        optimizer.step()
    net.zero_grad(set_to_none=True)
    images, labels, _ = planted(100, seed=2)
    assert (predict_logits(net, images).argmax(1) == labels).float().mean() > 0.97
    return net.eval()


FEW = {  # less work than by default, where the property does not hang on it
    "integrated_gradients": {"steps": 8},
    "smooth_grad": {"samples": 4},
    "occlusion": {"patch_px": 7, "stride_px": 7},
}


def explain(name: str, net: nn.Module, images: torch.Tensor, *targets, **options) -> torch.Tensor:
    """The maps of a method, quickly."""
    return METHODS[name](net, images, *targets, **FEW.get(name, {}), **options)


class Linear(nn.Module):
    """Logits that are a linear function of pixels."""

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, images):
        return torch.einsum("bchw,kchw->bk", images, self.weight) + 3


def test_a_linear_network_is_explained_by_its_weights():
    weight = torch.randn(4, 3, 9, 7)
    images, targets = 255 * torch.rand(5, 3, 9, 7), torch.tensor([0, 1, 2, 3, 0])
    net, own = Linear(weight), weight[targets]
    assert torch.allclose(gradient(net, images, targets), own)
    assert torch.allclose(smooth_grad(net, images, targets, samples=3), own, atol=1e-5)
    assert torch.allclose(saliency(net, images, targets), own.abs().amax(1, keepdim=True))
    maps = integrated_gradients(net, images, targets, baseline=7.0, steps=1)
    assert torch.allclose(maps, own * (images - 7), rtol=1e-4, atol=1e-3)
    # Covering one pixel takes away its weight times its grey level.
    hidden = occlusion(net, images, targets, patch_px=1, stride_px=1)
    assert torch.allclose(hidden, (own * images).sum(1, keepdim=True), rtol=1e-3, atol=1e-2)


def test_integrated_gradients_are_complete_and_more_steps_bring_them_nearer(reader):
    images, _, _ = planted(12, seed=3)
    targets = torch.arange(12) % 2
    errors = []
    for steps in (2, 16, 128):
        maps = integrated_gradients(reader, images, targets, steps=steps)
        error = completeness_error(reader, images, maps, targets)
        black = predict_logits(reader, torch.zeros(1, *SHAPE)).expand(12, 2)
        rise = (predict_logits(reader, images) - black).gather(1, targets.view(-1, 1)).squeeze(1)
        assert torch.allclose(maps.sum((1, 2, 3)) - rise, error, atol=1e-4)
        errors.append(float(error.abs().mean() / rise.abs().mean()))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[2] < 4e-3


def test_another_baseline_explains_another_difference(reader):
    images, _, _ = planted(4, seed=4)
    ground = images.roll(1, 0)  # the other kind
    maps = integrated_gradients(reader, images, torch.ones(4, dtype=torch.long), baseline=ground, steps=200)
    rise = (predict_logits(reader, images) - predict_logits(reader, ground))[:, 1]
    assert torch.allclose(maps.sum((1, 2, 3)), rise, atol=0.02 * float(rise.abs().max()))


class Constant(nn.Module):
    """Says the same to every image; `hangs` on it in the graph with weight 0, or not at all."""

    def __init__(self, hangs: bool):
        super().__init__()
        self.conv, self.hangs = nn.Conv2d(1, 2, 3), hangs
        nn.init.zeros_(self.conv.weight)

    def forward(self, images):
        return self.conv(images).mean((2, 3)) + 1 if self.hangs else torch.ones(len(images), 2)


@pytest.mark.parametrize("hangs", [True, False])
@pytest.mark.parametrize("name", list(METHODS))
def test_a_constant_network_has_no_reasons(name, hangs):
    if name == "grad_cam" and not hangs:
        pytest.skip("there is no layer that the answer comes through")
    maps = explain(name, Constant(hangs), 255 * torch.rand(3, *SHAPE))
    assert maps.shape == (3, 1, 28, 28)
    assert maps.count_nonzero() == 0


@pytest.mark.parametrize("name", list(METHODS))
def test_maps_have_the_images_shape_and_are_the_same_in_any_batch(name, reader):
    images, _, _ = planted(7, seed=5)
    maps = explain(name, reader, images)
    assert maps.shape == (7, 1, 28, 28)
    assert maps.isfinite().all()
    assert torch.equal(maps, explain(name, reader, images))
    assert torch.allclose(maps, explain(name, reader, images, batch=3), atol=1e-4 * float(maps.max()))
    alone = explain(name, reader, images[4:5], torch.tensor([int(predict_logits(reader, images)[4].argmax())]))
    assert torch.allclose(maps[4:5], alone, atol=1e-4 * float(maps.max()))
    assert torch.allclose(explain(name, reader, images.byte()), explain(name, reader, images.byte().float()))


@pytest.mark.parametrize("name", list(METHODS))
def test_the_network_is_left_as_it_was(name):
    net = LeNet(SHAPE, 10, batch_norm=True, dropout=0.5).train()
    net.features[0].eval()
    modes = [module.training for module in net.modules()]
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with torch.no_grad():  # a caller that needs no gradients gets them all the same
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
def test_maps_hang_on_the_weights(name, reader):
    """The sanity check of Adebayo et al. 2018, arXiv:1810.03292: a method whose maps stay when the weights are drawn
    afresh shows the image, not the network."""
    images, labels, _ = planted(8, seed=6)
    maps = explain(name, reader, images, labels)
    torch.manual_seed(7)
    drawn = [explain(name, Scaled(small_net()), images, labels) for _ in range(6)]
    alike = sum(correlation(maps, other) for other in drawn) / len(drawn)
    assert correlation(maps, explain(name, reader, images, labels)) == pytest.approx(1)
    assert abs(alike) < 0.35, alike


@pytest.mark.parametrize("name", ["grad_cam", "occlusion"])
def test_the_planted_patch_is_found(name, reader):
    images, labels, where = planted(40, seed=8)
    maps = METHODS[name](reader, images, labels).squeeze(1)
    peaks = maps.flatten(1).argmax(1)
    assert where.flatten(1).gather(1, peaks.view(-1, 1)).float().mean() >= 0.95
    inside = (maps.clamp(min=0) * where).sum((1, 2)) / maps.clamp(min=0).sum((1, 2))
    assert inside.median() > 3 * 64 / 784  # three times the patch's share of the image


def test_grad_cam_by_hand():
    """One map, one weight: the map times the mean of its gradients, enlarged."""
    net = nn.Sequential(nn.Conv2d(1, 1, 2, stride=2, bias=False), nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        net[0].weight.fill_(0.25)
        net[2].weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 6.0], [-1.0, -1.0, -1.0, -1.0]]))
    image = torch.tensor([[4.0, 4, 0, 0], [4, 4, 0, 0], [0, 0, 8, 8], [0, 0, 8, 8]]).view(1, 1, 4, 4)
    expected = F.interpolate(3 * torch.tensor([[[[4.0, 0], [0, 8]]]]), (4, 4), mode="bilinear", align_corners=False)
    assert torch.allclose(grad_cam(net, image, torch.tensor([0])), expected)
    assert grad_cam(net, image, torch.tensor([1])).count_nonzero() == 0  # speaks against it everywhere


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
def test_maps_lie_where_their_gradients_reach(net):
    """The middle of the pixels that a value in the interior hangs on, found by differentiation."""
    images = torch.rand(1, *SHAPE, requires_grad=True)
    maps, places = net(images), find_geometry(net, SHAPE, net[-1])
    middles = []
    for place in (2, 3):
        (slope,) = torch.autograd.grad(maps[0, 0, place, place], images, retain_graph=True)
        rows, columns = (slope[0, 0].abs().sum(axis).nonzero().flatten().float() for axis in (1, 0))
        middle = ((rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2)
        middles.append(middle)
        told = [first + place * step for first, step in zip(places.first, places.step, strict=True)]
        assert torch.stack(middle).tolist() == pytest.approx(told, abs=0.01)


def test_where_maps_lie_of_known_networks():
    lenet = LeNet(SHAPE, 10)
    assert find_geometry(lenet, SHAPE, lenet.features[3]) == MapGeometry((4.5, 4.5), (2.0, 2.0))  # row 9 at pixel 22.5
    slanted = LeNet(SHAPE, 10, deslant=True)
    assert find_geometry(slanted, SHAPE, slanted.features[4]) == MapGeometry((4.5, 4.5), (2.0, 2.0))
    resnet = ResNet(SHAPE, 10)
    assert find_geometry(resnet, SHAPE, resnet.stages[2]) == MapGeometry((0.0, 0.0), (4.0, 4.0))  # both paths agree
    # Cropped by a function, not by a layer: nothing is known about what comes after.
    cut = nn.Sequential(Cut(), nn.Conv2d(1, 1, 3))
    assert find_geometry(cut, SHAPE, cut[1]) is None
    maps = torch.rand(1, 1, 4, 4)
    even = F.interpolate(maps, (28, 28), mode="bilinear", align_corners=False)
    assert torch.allclose(project(maps, None, (28, 28)), even, atol=1e-5)


class Cut(nn.Module):
    """Leaves out the first rows and columns."""

    def forward(self, images):
        return images[..., 3:, 3:]


@pytest.mark.parametrize("place", [(8, 8), (8, 19), (14, 14), (19, 8)])
def test_grad_cam_lies_on_a_planted_spot(place):
    """A network that passes on brightness alone: its map is highest where the bright spot is."""
    net = LeNet(SHAPE, 2, pooling="max")
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.01)
    with torch.no_grad():  # narrow kernels, so that the peak is one place
        net.features[3].weight.zero_()[:, :, 2, 2] = 0.1
        net.features[0].weight.zero_()[:, :, 2, 2] = 0.1
    image = torch.zeros(1, *SHAPE)
    image[0, 0, place[0] : place[0] + 2, place[1] : place[1] + 2] = 255
    cam = grad_cam(net, image, torch.tensor([0]), layer="features.3")[0, 0]
    peak = divmod(int(cam.argmax()), 28)
    assert max(abs(a - b - 0.5) for a, b in zip(peak, place, strict=True)) <= 1.5, peak


def test_layers_go_by_their_own_name_in_a_wrapper():
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


def test_grad_cam_of_a_network_that_sets_digits_upright_lies_on_the_given_image():
    """A slanted stroke's map leans as the stroke does, though the network saw it upright."""
    picture = Image.new("L", (28, 28))
    ImageDraw.Draw(picture).line((20, 4, 8, 24), fill=255, width=3)
    image = torch.from_numpy(np.asarray(picture).copy()).view(1, 1, 28, 28).float()
    torch.manual_seed(0)
    net = LeNet(SHAPE, 2, deslant=True)
    nn.init.constant_(net.features[1].weight, 0.01)
    for parameter in [*net.features[4].parameters(), *net.head.parameters()]:
        nn.init.constant_(parameter, 0.01)  # every layer passes ink on
    cam = grad_cam(net, image, torch.tensor([0]), layer="features.1")[0, 0]
    assert torch.corrcoef(torch.stack([cam.flatten(), blur(image, 1.5).flatten()]))[0, 1] > 0.8


def test_grad_cam_refuses_what_has_no_maps():
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
        (lambda net, x: maximize_classes(net, SHAPE, torch.tensor([0]), steps=0), "steps=0"),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call(LeNet(SHAPE, 10), torch.zeros(1, *SHAPE))


def test_smooth_grad_draws_by_its_seed(reader):
    images, _, _ = planted(2, seed=9)
    one, two, other = (smooth_grad(reader, images, samples=4, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.allclose(one, other)
    assert torch.equal(smooth_grad(reader, images, noise=0.0, samples=2), gradient(reader, images))


def test_every_layers_maps_are_those_of_the_forward_pass():
    net, images = LeNet(SHAPE, 10, dropout=0.5), 255 * torch.rand(3, *SHAPE)
    maps = feature_maps(net, images, batch=2)
    assert list(maps)[:3] == ["features.0", "features.1", "features.2"]
    net.eval()
    assert torch.allclose(maps["features.0"], net.features[0](images))
    assert torch.allclose(maps["head.6"], net(images), atol=1e-5)
    assert conv_filters(net, SHAPE)["features.3"].shape == (16, 6, 5, 5)
    assert conv_filters(MLP(SHAPE, 10), SHAPE)["head.0"].shape == (128, 1, 28, 28)


def test_maps_of_a_residual_network_are_those_of_whole_blocks():
    net = ResNet(SHAPE, 10)
    summary = summarize(net, SHAPE)
    wholes = {la.name: la for la in (whole(group, summary, net) for group in condensed(summary) if group.name)}
    assert list(wholes)[:3] == ["stages.0", "stages.1", "stages.2"]  # not a path beside, stages.1.shortcut
    maps = feature_maps(net, torch.rand(1, *SHAPE), list(wholes))
    assert all(tuple(maps[name].shape[1:]) == la.output for name, la in wholes.items())
    chain = LeNet(SHAPE, 10)
    summary = summarize(chain, SHAPE)
    assert "features.5" in [whole(group, summary, chain).name for group in condensed(summary)]


def test_class_images_excite_their_class(reader):
    columns = torch.tensor([0, 1, 1])
    images = maximize_classes(reader, SHAPE, columns, torch.tensor([1, 1, -1]))
    assert images.shape == (3, 1, 28, 28)
    assert 0 <= images.min() <= images.max() <= 255
    assert torch.equal(images, maximize_classes(reader, SHAPE, columns, torch.tensor([1, 1, -1])))
    said, black = predict_logits(reader, images), predict_logits(reader, torch.zeros(1, *SHAPE))[0]
    real = predict_logits(reader, planted(50, seed=10)[0])
    assert said[0, 0] > real[:, 0].max()
    assert said[1, 1] > real[:, 1].max()
    assert said[2, 1] < black[1]


def test_a_blur_keeps_the_sum_and_spreads():
    image = torch.zeros(1, 2, 21, 21)
    image[:, :, 10, 10] = 1
    spread = blur(image, 2.0)
    assert float(spread.sum()) == pytest.approx(2)
    rows = torch.arange(21.0) - 10
    assert float((spread[0, 0].sum(1) * rows**2).sum()) == pytest.approx(4, rel=0.05)  # its variance
    assert torch.equal(blur(image, 0), image)


def test_the_nearest_leave_out_the_image_itself():
    bank = torch.randn(50, 8)
    apart, rows = nearest_features(bank[[3, 7]], bank, 4, own=torch.tensor([3, -1]))
    by_hand = (bank - bank[3]).norm(dim=1)
    by_hand[3] = math.inf
    assert rows[0].tolist() == by_hand.argsort()[:4].tolist()
    assert rows[1, 0] == 7
    assert float(apart[1, 0]) == pytest.approx(0, abs=1e-2)
    with pytest.raises(InputError, match="too few"):
        nearest_features(bank[:1], bank[:1], 3, own=torch.tensor([0]))


def test_lenet_counted_by_hand():
    summary = summarize(LeNet(SHAPE, 10), SHAPE)
    conv1, conv2 = 28 * 28 * 6 * 25, 10 * 10 * 16 * 6 * 25
    linear = 400 * 120 + 120 * 84 + 84 * 10
    assert summary.multiply_adds == conv1 + conv2 + linear == 416_520
    assert summary.parameters == 61_706
    shapes = {la.name: show_shape(la.output) for la in summary.layers}
    assert shapes["features.0"] == "6 @ 28x28"
    assert shapes["features.5"] == "16 @ 5x5"
    assert shapes["flatten"] == "400"
    memory = {la.name: la.memory for la in summary.layers}
    assert memory["features.0"] == 6 * 28 * 28 * 4
    assert memory["flatten"] == 0  # the same numbers seen as a row
    text = layer_table(summary)
    assert "61,706" in text
    assert "416,520" in text


@pytest.mark.parametrize(
    ("name", "giga"),
    [("resnet18", 1.814), ("mobilenet_v3_small", 0.057), ("swin_t", 4.491)],
)
def test_torchvision_networks_count_as_torchvision_says(name, giga):
    """What their weights' documentation states for 224x224 in RGB and 1,000 classes."""
    net = Pretrained((3, 28, 28), 1000, name=name)
    summary = summarize(net, (3, 28, 28))
    assert summary.multiply_adds / 1e9 == pytest.approx(giga, abs=6e-4)
    assert summary.parameters == sum(p.numel() for p in net.parameters())


def model_options() -> list[str]:
    from src.cli.config import CONF

    return sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


@pytest.mark.parametrize("name", model_options())
@pytest.mark.parametrize("shape", [SHAPE, (3, 32, 32)])
def test_every_model_has_a_summary_and_a_picture(name, shape, tmp_path):
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from src.cli.config import CONF, build

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        extra = ["model.size=64"] if name == "pretrained" else []
        cfg = compose("explain", [f"model={name}", *extra])
    net = build(cfg.model, "model", shape=shape, num_classes=7)
    modes = [module.training for module in net.modules()]
    summary = summarize(net, shape)
    assert summary.parameters == sum(p.numel() for p in net.parameters())
    assert summary.layers[-1].output == (7,)
    assert summary.multiply_adds > 0
    assert [module.training for module in net.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    row = diagram_blocks(summary)
    assert len(row) <= MOST
    assert row[0].layer.output == shape
    assert row[-1].layer.output == (7,)
    assert sum(block.layer.multiply_adds for block in row) == summary.multiply_adds
    assert sum(block.layer.parameters for block in row) == summary.parameters
    architecture(summary).savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 5_000


def test_numbers_are_short():
    assert [short(n) for n in (0, 840, 10_080, 416_520, 999_600, 1.814e9)] == [
        "0", "840", "10.1 k", "417 k", "1.00 M", "1.81 G",
    ]  # fmt: skip


def test_worst_best_uncertain_and_random():
    outputs = torch.tensor([[5.0, 0], [0.1, 0], [0, 5], [3, 0], [0, 0.4]])
    labels = torch.tensor([0, 0, 0, 1, 1])
    assert choose_images("worst", 2, outputs, labels, INFO).tolist() == [2, 3]
    assert choose_images("best", 2, outputs, labels, INFO).tolist() == [0, 4]
    assert choose_images("uncertain", 2, outputs, labels, INFO).tolist() == [1, 4]
    drawn = choose_images("random", 3, outputs, labels, INFO, seed=1)
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    assert torch.equal(drawn, choose_images("random", 3, outputs, labels, INFO, seed=1))
    number = DataInfo(SHAPE, (), (0.1,), (0.3,), "angle_deg", 45.0)
    assert choose_images("worst", 1, torch.tensor([[0.1], [0.9]]), torch.tensor([0.0, 0.0]), number).tolist() == [1]
    for which, info, message in (("odd", INFO, "which=odd"), ("uncertain", number, "which=uncertain")):
        with pytest.raises(InputError, match=message):
            choose_images(which, 1, outputs, labels, info)


def test_methods_that_a_network_cannot_have():
    mlp, lenet = MLP(SHAPE, 10), LeNet(SHAPE, 10)
    summaries = summarize(mlp, SHAPE), summarize(lenet, SHAPE)
    assert choose_methods(None, mlp, None, summaries[0])[0] == [name for name in METHODS if name != "grad_cam"]
    assert choose_methods(None, lenet, None, summaries[1]) == (list(METHODS), "features.3")
    assert "grad_cam" not in choose_methods(None, lenet, "head.0", summaries[1])[0]
    for net, layer, asked, expected in [
        (mlp, None, ["grad_cam"], "MLP has none; it can have saliency, integrated_gradients, smooth_grad, occlusion"),
        (lenet, "head.0", ["grad_cam"], "layer=head.0 has none"),
        (mlp, None, ["lime"], "methods=lime: one or more of saliency"),
    ]:
        with pytest.raises(InputError, match=expected):
            choose_methods(asked, net, layer, summaries[0] if net is mlp else summaries[1])


def test_grad_cam_does_not_take_maps_of_one_pixel():
    net = Pretrained(SHAPE, 10, size=32)
    _, layer = choose_methods(None, net, None, summarize(net, SHAPE))
    assert layer == "net.layer3.1.bn2"  # 2x2; layer4 is 1x1


def test_words_for_classes_and_numbers():
    found = Explanation(
        torch.zeros(2, *SHAPE), ["test row 1", "test row 2"], [1, 2], torch.tensor([0, 0]),
        torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]),
    )  # fmt: skip
    one, two = cases(found, INFO)
    assert (one.says, one.truth, one.right, one.about) == ("says horizontal  88.1 %", "is horizontal  88.1 %", True, "")
    assert (two.right, two.about) == (False, "maps: horizontal")
    lines = records(found, INFO)
    assert lines[1]["prediction"] == "vertical"
    assert lines[1]["explained"] == "horizontal"
    assert [line["row"] for line in lines] == [1, 2]
    assert sum(lines[1]["probs"].values()) == pytest.approx(1)
    assert "73.11 %" in explanation_table(lines)
    number = DataInfo(SHAPE, (), (0.1,), (0.3,), "angle_deg", 45.0)
    found = Explanation(
        torch.zeros(1, *SHAPE), ["a"], None, torch.tensor([0.1]), torch.tensor([[-0.5]]), torch.tensor([0])
    )
    assert (cases(found, number)[0].says, cases(found, number)[0].truth) == ("says -22.5 deg", "is 4.5 deg")
    assert records(found, number)[0]["estimate"] == pytest.approx(-22.5)


def digit(side: int = 120) -> Image.Image:
    picture = Image.new("L", (side, side))
    draw = ImageDraw.Draw(picture)
    draw.line((side * 0.3, side * 0.2, side * 0.7, side * 0.2, side * 0.45, side * 0.8), fill=255, width=side // 12)
    return picture


DIGITS = DataInfo(SHAPE, tuple("0123456789"), (0.1307,), (0.3081,))


def test_pictures_of_any_polarity_and_kind_become_the_same_digit(tmp_path):
    ink = np.asarray(digit()).astype(float)
    rng = np.random.default_rng(0)
    shadow = np.linspace(-20, 20, 120)[None]
    forms = {
        "light.png": Image.fromarray(ink.astype(np.uint8)),
        "dark.png": Image.fromarray((255 - ink).astype(np.uint8)),
        "grey.png": Image.fromarray((210 - ink * 150 / 255).astype(np.uint8)),
        "sixteen.png": Image.fromarray(((255 - ink) * 257).astype(np.uint16)),
        "paper.png": Image.fromarray(
            (220 - ink * 0.6 + shadow + rng.normal(0, 2, ink.shape)).clip(0, 255).astype("u1")
        ),
        "blue.webp": Image.merge("RGB", [Image.fromarray((255 - ink * s).astype(np.uint8)) for s in (0.9, 0.7, 0.1)]),
    }
    clear = Image.new("RGBA", (120, 120))
    clear.putalpha(digit())
    forms["clear.png"] = clear
    turned = Image.fromarray((255 - ink).astype(np.uint8)).rotate(90)
    for name, picture in forms.items():
        picture.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    paths = find_pictures(str(tmp_path))
    assert len(paths) == 8
    images = read_given(paths, DIGITS.shape, ink=True)[0].float()
    assert images.shape == (8, 1, 28, 28)
    reference = images[[path.name for path in paths].index("light.png")]
    for path, image in zip(paths, images, strict=True):
        alike = torch.corrcoef(torch.stack([image.flatten(), reference.flatten()]))[0, 1]
        assert alike > 0.96, (path.name, float(alike))
        assert image.max() > 190


def test_light_ink_on_black_stays_as_it_is(tmp_path):
    from sklearn.datasets import load_digits

    from src.pictures.mnist_form import to_mnist_form

    scans = torch.from_numpy(load_digits().images[:20] * 15.9).round().to(torch.uint8).unsqueeze(1)
    scans[:, :, :, 0], scans[:, :, :, -1], scans[:, :, 0], scans[:, :, -1] = 0, 0, 0, 0
    formed = to_mnist_form(scans)
    for row, image in enumerate(formed):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{row:02}.png")
        Image.fromarray(255 - image[0].numpy()).save(tmp_path / f"{row:02}_dark.png")
    again, _ = read_given(find_pictures(str(tmp_path)), DIGITS.shape, ink=True)
    assert torch.equal(again[::2], formed)
    assert torch.equal(again[1::2], formed)


def test_each_digit_of_a_picture_is_explained(tmp_path):
    one = np.asarray(digit())
    digit().save(tmp_path / "a.png")
    Image.fromarray(np.hstack([one, one, one])).save(tmp_path / "b.png")
    net = SimpleNamespace(info=DIGITS, config={"data": {"name": "mnist"}})

    def picked(n, ink="auto"):
        return pick_pictures(OmegaConf.create({"images": str(tmp_path), "n": n, "ink": ink}), net)

    images, names, ink, rest = picked(9)
    several = [f"{tmp_path}/b.png digit {place} of 3" for place in (1, 2, 3)]
    assert (names, ink, rest) == ([f"{tmp_path}/a.png", *several], True, None)
    assert images.shape == (4, 1, 28, 28)
    assert all(image.equal(images[0]) for image in images)
    images, names, _, rest = picked(3)
    assert (len(images), names[1:]) == (3, several[:2])
    assert rest.startswith("the first 3 digits, of 2 of 2 pictures")
    assert picked(1)[3].startswith("the first 1 of 2 pictures")
    images, names, ink, rest = picked(9, "none")
    assert (len(images), names, ink, rest) == (2, [f"{tmp_path}/{name}.png" for name in "ab"], False, None)


def test_pictures_that_cannot_be_are_named(tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    Image.new("L", (40, 40), 230).save(tmp_path / "blank.png")
    with pytest.raises(InputError, match=r"blank.png holds no ink"):
        read_given([tmp_path / "blank.png"], DIGITS.shape, ink=True)
    with pytest.raises(InputError, match=r"notes.png cannot be read as a picture"):
        read_given([tmp_path / "notes.png"], DIGITS.shape, ink=True)
    for given, message in [
        (f"{tmp_path}/nothing.png", "there is no such file"),
        (f"{tmp_path}/*.jpg", "there is no such file, folder or pattern"),
        (f"{tmp_path}/empty", "holds no pictures"),
        ([3], "images=3"),
    ]:
        with pytest.raises(InputError, match=message):
            find_pictures(given)
    digit().save(tmp_path / "one.png")
    assert [p.name for p in find_pictures([f"{tmp_path}/o*.png", str(tmp_path / "one.png")])] == ["one.png"]


def test_ink_is_for_networks_of_digits():
    fashion = DataInfo(SHAPE, ("coat", "bag"), (0.1,), (0.3,))
    assert choose_ink("auto", DIGITS.shape, {"name": "mnist", "ink": "none"})
    assert choose_ink("auto", DIGITS.shape, {"name": "folder", "ink": "mnist"})
    assert not choose_ink("auto", fashion.shape, {"name": "fashion_mnist", "ink": "none"})
    assert not choose_ink("none", DIGITS.shape, {"name": "mnist", "ink": "none"})
    assert not choose_ink("auto", (3, 32, 32), {"name": "folder", "ink": "none"})
    with pytest.raises(InputError, match="ink=mnist makes pictures of 1x28x28"):
        choose_ink("mnist", (3, 32, 32), {"name": "folder", "ink": "none"})
    with pytest.raises(InputError, match="ink=blue"):
        choose_ink("blue", DIGITS.shape, {"name": "mnist", "ink": "none"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "what is to be explained"),
        ({"model._target_": "x", "methods": ["saliency"]}, "methods is about a trained network: give ckpt"),
        ({"model._target_": "x", "images": "a.png"}, "images is about a trained network"),
        ({"ckpt": "a", "model._target_": "x"}, "leave model out"),
        ({"ckpt": "a", "size": 32}, "size is for a summary without ckpt"),
        ({"model._target_": "x", "channels": 0}, "channels=0"),
        ({"ckpt": "a", "images": "a.png", "index": [1]}, "give images or index"),
        ({"ckpt": "a", "n": 0}, "n=0: 1 to 64"),
        ({"ckpt": "a", "split": "all"}, "split=all: one of train, val, test"),
        ({"ckpt": "a", "steps": 0}, "steps=0: 1 to 4,096"),
        ({"ckpt": "a", "noise": "much"}, "noise=much"),
        ({"ckpt": "a", "figures": 3}, "figures=3: true or false"),
        ({"ckpt": "a", "layer": 3}, "layer=3: the name of one layer"),
        ({"ckpt": "a", "images": []}, r"images=\[\]: a file, a folder"),
        ({"ckpt": "a", "images": 5}, "images=5: a file, a folder"),
        ({"ckpt": "a", "methods": []}, r"methods=\[\]: one or more of saliency"),
        ({"ckpt": "a", "methods": "foo"}, "methods=foo: one or more of saliency"),
        ({"ckpt": "a", "methods": ["saliency", 3]}, "methods=3: one or more of saliency"),
        ({"ckpt": "a", "which": "foo"}, "which=foo: one of worst"),
        ({"ckpt": "a", "device": "foo"}, "device=foo: one of auto, cpu"),
        ({"ckpt": "a", "threads": 0}, "threads=0: a whole number, 1 to"),
        ({"model._target_": "x", "size": 100_000}, "size=100000: 1 to 1,024"),
        ({"ckpt": "a", "images": "a.png", "which": "best"}, "which and images do not go together"),
        ({"ckpt": "a", "images": "a.png", "split": "val"}, "split and images do not go together"),
        ({"ckpt": "a", "index": [3], "n": 2}, "n and index do not go together"),
        ({"model._target_": "x", "which": "best"}, "which is about a trained network"),
        ({"model._target_": "x", "n": 4}, "n is about a trained network"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_read(change, message):
    from omegaconf import OmegaConf

    from src.cli.config import CONF
    from src.explain import check

    cfg = OmegaConf.load(CONF / "explain.yaml")
    for key, value in change.items():
        OmegaConf.update(cfg, key, value)
    with pytest.raises(InputError, match=message) as caught:
        check(cfg, set(change))
    assert "\n" not in str(caught.value)


def test_the_words_of_the_command_are_those_of_the_work():
    from src import explain
    from src.insight import explain_batch

    assert list(METHODS) == list(explain.METHODS)
    assert explain_batch.WHICH == explain.WHICH


def test_positions_and_targets_are_checked():
    from src.cli.inputs import pick_positions, pick_target

    every = torch.arange(60)
    assert pick_positions([3, 59], every, 60, "test").tolist() == [3, 59]
    assert pick_positions(7, every, 60, "test").tolist() == [7]
    for wrong in (60, [-1], ["a"], "a", [True], 1.5, True, {"a": 1}):
        with pytest.raises(InputError, match=r"a row of the test file, 0 to 59"):
            pick_positions(wrong, every, 60, "test")
    odd, even = every[1::2], every[::2]  # rows of the training file, in two splits
    assert odd[pick_positions([9, 3], odd, 60, "train")].tolist() == [9, 3]
    assert even[pick_positions([58], even, 60, "val")].tolist() == [58]
    with pytest.raises(InputError, match=r"index=4 is no row of the train split: try split=val"):
        pick_positions([3, 4], odd, 60, "train")
    with pytest.raises(InputError, match=r"index=60: a row of the training file, 0 to 59"):
        pick_positions(60, odd, 60, "train")
    outputs, labels = torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([1, 0])
    assert pick_target(None, outputs, labels, INFO).tolist() == [0, 1]
    assert pick_target("label", outputs, labels, INFO).tolist() == [1, 0]
    assert pick_target("vertical", outputs, labels, INFO).tolist() == [1, 1]
    assert pick_target(["vertical", "label"], outputs, labels, INFO).tolist() == [1, 0]
    assert pick_target(3, outputs[:, :1].expand(2, 10), None, DIGITS).tolist() == [3, 3]
    for target, info, message in [
        ("slanted", INFO, "target=slanted is no class"),
        (["label"], INFO, "1 classes for 2 images"),
        ("label", DataInfo(SHAPE, (), (0.1,), (0.3,), "angle_deg", 45.0), "leave target out"),
    ]:
        with pytest.raises(InputError, match=message):
            pick_target(target, outputs, labels, info)
    with pytest.raises(InputError, match="pictures of files have no label"):
        pick_target("label", outputs, None, INFO)


def drawn(figure) -> list[str]:
    """Everything that is written in a figure."""
    axes = [text for place in figure.axes for text in (place.xaxis.label, place.title, *place.texts)]
    return [text.get_text() for text in [*figure.texts, *axes] if text.get_text()]


def test_captions_of_neighbours_stay_within_their_image():
    names = ["straight-left-leaning", "class_name_12", "-44.9 deg", "T-shirt/top", "7"]
    images, near = 255 * torch.rand(8, *SHAPE), 255 * torch.rand(8, 5, *SHAPE)
    apart = torch.tensor([[0.12, 112.3, 12.3, 3.4, 2.2]]).expand(8, 5)
    figure = neighbour_figure(images, [Case("a", "says 3")] * 8, near, [names] * 8, apart, "note", [[12345] * 5] * 8)
    figure.draw_without_rendering()
    for axes in figure.axes:
        if axes.get_xlabel():
            text, image = axes.xaxis.label.get_window_extent(), axes.get_window_extent()
            assert image.x0 - 3 <= text.x0 < text.x1 <= image.x1 + 3, axes.get_xlabel()
    assert any("straight-…" in text and "row 12345" in text for text in drawn(figure))


def test_a_single_number_is_written():
    maps = {"conv": torch.rand(2, 5, 5), "angle": torch.tensor([0.123456])}
    assert "0.123" in drawn(layer_figures.feature_map_figure(torch.zeros(SHAPE), maps, {}, "maps"))
    assert "0.123" in drawn(layer_figures.layer_figure(torch.zeros(1, *SHAPE), maps["angle"].unsqueeze(0), "head"))
