"""Channels last changes how a network computes, not what, and nothing that is saved."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from src.data.info import DataInfo
from src.errors import InputError
from src.inference.model import InferenceModel
from src.model_files.tracing import trace_model
from src.models.cnn import CNN
from src.models.convnet import ConvNet
from src.models.lenet import LeNet
from src.models.memory_format import channels_last, set_memory_format
from src.models.mlp import MLP
from src.models.pretrained import Pretrained
from src.models.resnet import ResNet

NETWORKS = {
    "lenet": LeNet,
    "deslanted": lambda shape, classes: LeNet(shape, classes, deslant=True),
    "unfold": lambda shape, classes: LeNet(shape, classes, convolution="unfold"),
    "cnn": CNN,
    "convnet": ConvNet,
    "resnet": ResNet,
    "resized": lambda shape, classes: Pretrained(shape, classes, "squeezenet1_1", None, 40),
    "depthwise": lambda shape, classes: Pretrained(shape, classes, "mobilenet_v3_small", None, 32),
    "mlp": MLP,
}


class Viewing(nn.Module):
    """A network as tutorials write it: view flattens what it takes for contiguous."""

    def __init__(self, shape, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(shape[0], 4, 3, padding=1)
        self.head = nn.Linear(4 * shape[1] * shape[2], num_classes)

    def forward(self, images):
        return self.head(self.conv(images).view(len(images), -1))


class Reshaping(Viewing):
    """The same with reshape."""

    def forward(self, images):
        return self.head(self.conv(images).reshape(len(images), -1))


class ByStrides(Viewing):
    """A network that computes something else from other strides."""

    def forward(self, images):
        features = self.conv(images)
        return self.head(features.as_strided((len(images), self.head.in_features), (self.head.in_features, 1)))


def last_format(model, shape, **options):
    """The strides that the first convolution's output has, as a memory format."""
    seen = []
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    handle = first.register_forward_hook(lambda module, args, output: seen.append(output))
    model(torch.randn(2, *shape, **options))
    handle.remove()
    contiguous = seen[0].is_contiguous()
    return "contiguous" if contiguous else "channels_last"


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_computes_the_same_in_both_formats(name, shape):
    torch.manual_seed(0)
    model = NETWORKS[name](shape, 10)
    for module in model.modules():
        if isinstance(module, nn.Dropout):  # draws its mask in the order of memory
            module.p = 0.0
    other = copy.deepcopy(model)
    assert set_memory_format(other, shape) is None
    images = torch.randn(16, *shape)
    for mode in (True, False):
        results = []
        for net in (model.train(mode), other.train(mode)):
            torch.manual_seed(1)
            net.zero_grad()
            logits = net(images.clone())
            logits.square().sum().backward()
            results.append([logits.detach(), *(p.grad for p in net.parameters())])
        largest = max(float(values.abs().max()) for values in results[0])
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * largest)
    for ours, theirs in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert ours.stride() == theirs.stride()
    if name not in ("mlp", "unfold"):
        assert (last_format(model, shape), last_format(other, shape)) == ("contiguous", "channels_last")


def test_the_rule_of_auto():
    shape, wide = (3, 32, 32), Pretrained((3, 32, 32), 2, "resnet18", None, 32)
    set_memory_format(wide, shape)
    assert last_format(wide, shape) == "contiguous"  # a gradient is wanted
    with torch.no_grad():
        assert last_format(wide, shape) == "channels_last"
        with torch.autocast("cpu", torch.bfloat16):
            assert last_format(wide, shape) == "contiguous"
        assert last_format(wide.double(), shape, dtype=torch.float64) == "contiguous"
    model = LeNet(shape, 2)
    for memory_format, expected in (("contiguous", "contiguous"), ("channels_last", "channels_last")):
        set_memory_format(model, shape, memory_format)
        assert last_format(model, shape) == expected
    with pytest.raises(InputError, match="memory_format=nhwc"):
        set_memory_format(model, shape, "nhwc")


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 5, 7)])
def test_images_keep_their_values_and_gradients(shape):
    images = torch.randn(2, *shape, requires_grad=True)
    changed = channels_last(images[:, :, ::1])
    assert torch.equal(changed, images) and changed.stride() == (5 * 7 * shape[0], 1, 7 * shape[0], shape[0])
    changed.square().sum().backward()
    torch.testing.assert_close(images.grad, 2 * images.detach())


@pytest.mark.parametrize(("network", "reason"), [(Viewing, "view size"), (ByStrides, "differ"), (Reshaping, None)])
def test_a_network_from_outside_is_tried(network, reason):
    shape = (3, 8, 8)
    model = network(shape, 3)
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    found = set_memory_format(model, shape)
    assert (reason in found) if reason else found is None
    assert model.training and torch.equal(random_state, torch.get_rng_state())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    if network is not ByStrides:
        assert last_format(model, shape) == ("contiguous" if reason else "channels_last")


@pytest.mark.parametrize(("widths", "reason"), [((4, 4), "1x1 convolution with a stride"), ((8, 4), None)])
def test_a_layer_that_torch_computes_wrongly_keeps_the_network_contiguous(widths, reason):
    """Its backward pass ends the process on one thread, and is wrong on two."""
    shape = (3, 28, 28)
    model = ResNet(shape, 2, widths=widths)
    found = set_memory_format(model, shape)
    assert (reason in found) if reason else found is None
    other = copy.deepcopy(model)
    set_memory_format(other, shape, "contiguous")
    images, gradients = torch.randn(16, *shape), []
    for net in (model, other):
        net(images).square().sum().backward()
        gradients.append([p.grad for p in net.parameters()])
    largest = max(float(gradient.abs().max()) for gradient in gradients[1])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * largest)


class Functional(nn.Module):
    """A network of a convolution layer, and of one more that is a function in its forward pass."""

    def __init__(self, channels: int, convolve):
        super().__init__()
        self.first, self.head = nn.Conv2d(3, channels, 3, padding=1), nn.Linear(16, 2)
        self.weight, self.convolve = nn.Parameter(torch.randn(16, channels, 1, 1)), convolve

    def forward(self, images):
        return self.head(self.convolve(self.first(images), self.weight).mean((2, 3)))


@pytest.mark.parametrize(
    ("channels", "convolve", "reason"),
    [
        (3, lambda x, w: F.conv2d(x, w, stride=2), "1x1 convolution with a stride"),
        (3, lambda x, w: torch.conv2d(x, w, None, (2, 2)), "1x1 convolution with a stride"),
        (3, lambda x, w: F.conv2d(input=x, weight=w, stride=(1, 2)), "1x1 convolution with a stride"),
        (3, lambda x, w: F.conv2d(x, w), None),
        (8, lambda x, w: F.conv2d(x, w, stride=2), None),
        (16, lambda x, w: F.conv_transpose2d(x, w), "transposed"),
    ],
)
def test_convolutions_that_are_functions_are_found(channels, convolve, reason):
    found = set_memory_format(Functional(channels, convolve), (3, 12, 12))
    assert (reason in found) if reason else found is None


def test_a_convolution_of_the_training_mode_alone_is_found():
    class Both(Functional):
        def forward(self, images):
            if not self.training:
                return self.head(F.conv2d(self.first(images), self.weight).mean((2, 3)))
            return super().forward(images)

    network = Both(3, lambda x, w: F.conv2d(x, w, stride=2))
    assert "1x1 convolution with a stride" in set_memory_format(network, (3, 12, 12))


class Random(Viewing):
    """A network that draws in evaluation, too."""

    def forward(self, images):
        return self.head(F.dropout(self.conv(images), 0.5, training=True).flatten(1))


def test_a_network_that_draws_stays_contiguous():
    assert "otherwise each time" in set_memory_format(Random((3, 8, 8), 3), (3, 8, 8))


def test_channels_last_is_refused_where_there_is_nothing_to_change():
    for model in (MLP((1, 28, 28), 2), nn.Linear(4, 4), LeNet((1, 28, 28), 2, convolution="unfold")):
        assert "no convolution of torch's own" in set_memory_format(model, (1, 28, 28), "channels_last")
        assert set_memory_format(model, (1, 28, 28), "auto") is None


def test_a_transposed_convolution_keeps_a_network_contiguous():
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 64, 2))
    assert "transposed" in set_memory_format(layers, (3, 8, 8))


def test_an_exported_graph_knows_no_format():
    info = DataInfo((3, 28, 28), tuple("abc"), (0.1,) * 3, (0.3,) * 3)
    graphs = []
    for memory_format in ("contiguous", "auto"):
        torch.manual_seed(0)
        net = InferenceModel(LeNet(info.shape, 3), info, {}).eval()
        set_memory_format(net.model, info.shape, memory_format)
        graphs.append([(str(node.op), str(node.target)) for node in trace_model(net).graph.nodes])
    assert graphs[0] == graphs[1]


def test_a_copy_has_its_own_format():
    shape = (1, 28, 28)
    model = LeNet(shape, 10)
    set_memory_format(model, shape)
    other = copy.deepcopy(model)
    set_memory_format(other, shape, "contiguous")
    assert (last_format(model, shape), last_format(other, shape)) == ("channels_last", "contiguous")
