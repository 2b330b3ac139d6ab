"""The small networks: sizes, shapes, and what their options refuse."""

import pytest
import torch
from torch import nn

from src.cli.config import CONF
from src.errors import InputError
from src.models.cnn import CNN
from src.models.convnet import ConvNet
from src.models.lenet import LeNet
from src.models.mlp import MLP
from src.models.pretrained import Pretrained
from src.models.resnet import ResNet

SMALL = {"lenet": LeNet, "mlp": MLP, "convnet": ConvNet, "cnn": CNN, "resnet": ResNet}
SHAPE = (1, 28, 28)


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("lenet", 61_706), ("mlp", 101_770), ("convnet", 387_614), ("cnn", 206_922), ("resnet", 77_754)],
)
def test_parameter_counts_are_the_ones_in_the_configs(name, parameters):
    assert count_parameters(SMALL[name](SHAPE, 10)) == parameters


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("shape", "classes"), [((1, 28, 28), 10), ((3, 32, 32), 7), ((2, 20, 24), 2)])
def test_networks_take_any_channels_size_and_number_of_classes(name, shape, classes):
    assert SMALL[name](shape, classes)(torch.randn(3, *shape)).shape == (3, classes)


SIDES = [(1, 1), (2, 2), (3, 3), (4, 4), (7, 7), (11, 11), (12, 12), (28, 28), (224, 224), (28, 1), (1, 28), (3, 400)]
LEAST = {"lenet": 12, "cnn": 4, "convnet": 2, "resnet": 1, "mlp": 1}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", SMALL)
def test_images_of_every_size_train_or_the_least_side_is_named(name, channels):
    for height, width in SIDES:
        shape, least = (channels, height, width), LEAST[name]
        if min(height, width) < least:
            with pytest.raises(InputError, match=rf"{height}x{width} are too small.*each side needs {least} pixels"):
                SMALL[name](shape, 2)
            continue
        model, labels = SMALL[name](shape, 2), torch.tensor([0, 1])
        nn.functional.cross_entropy(model(torch.randn(2, *shape)), labels).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("side", "stride", "pixels"), [(28, 1, 28), (47, 1, 47), (48, 2, 24), (64, 2, 32), (128, 4, 32), (224, 4, 56)]
)
def test_the_first_convolution_of_a_residual_network_goes_by_the_size(side, stride, pixels):
    model = ResNet((3, side, side), 8, widths=(4, 8), stride=None)
    assert model.stem[0].stride == (stride, stride)
    assert model.stem(torch.randn(2, 3, side, side)).shape[2:] == (pixels, pixels)
    assert ResNet((3, side, side // 2), 8, widths=(4, 8), stride=None).stem[0].stride == (stride, stride)
    for shape in ((1, 1), (1, 300), (3, 64)):
        assert ResNet((1, *shape), 2, stride=None)(torch.randn(2, 1, *shape)).isfinite().all()


def test_the_option_for_photographs_has_the_parameters_it_says():
    text = (CONF / "model/resnet_large.yaml").read_text()
    assert f"{count_parameters(ResNet((3, 64, 64), 8, widths=(32, 64, 128, 256), stride=None)):,} parameters" in text
    with pytest.raises(InputError, match=r"model\.stride=0"):
        ResNet((3, 64, 64), 8, stride=0)


def test_the_least_side_goes_by_the_options():
    for options, least in (({"padded": False}, 16), ({"convolution": "fft"}, 12), ({"deslant": True}, 12)):
        with pytest.raises(InputError, match=f"each side needs {least} pixels"):
            LeNet((1, least - 1, 400), 2, **options)
        LeNet((1, least, least), 2, **options)


def test_linear_layers_have_the_right_inputs_where_the_tutorials_have_wrong_ones():
    assert LeNet(SHAPE, 10).head[0].in_features == 16 * 5 * 5
    assert LeNet(SHAPE, 10, padded=False).head[0].in_features == 16 * 4 * 4
    assert ConvNet(SHAPE, 10).head[0].in_features == 16 * 14 * 14
    assert CNN(SHAPE, 10).head[0].in_features == 32 * 7 * 7


def test_pooling_before_a_monotone_activation_gives_the_same_values():
    model = LeNet(SHAPE, 10)
    conv, pool, act = model.features[:3]
    images = torch.randn(4, *SHAPE)
    assert isinstance(pool, nn.MaxPool2d)
    assert torch.equal(act(pool(conv(images))), pool(act(conv(images))))
    assert isinstance(LeNet(SHAPE, 10, pooling="avg").features[1], nn.ReLU), "an average is taken of activations"
    assert isinstance(LeNet(SHAPE, 10, activation="gelu").features[1], nn.GELU), "GELU is not monotone"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LeNet(SHAPE, 10, activation="swish"), r"model\.activation=swish.*relu"),
        (lambda: LeNet(SHAPE, 10, pooling="min"), r"model\.pooling=min.*max"),
        (lambda: LeNet(SHAPE, 10, dropout=1.0), r"model\.dropout=1"),
        (lambda: LeNet((1, 8, 8), 10), r"8x8 are too small"),
        (lambda: MLP(SHAPE, 10, hidden=(0,)), r"model\.hidden"),
        (lambda: ResNet(SHAPE, 10, widths=()), r"model\.widths"),
        (lambda: ResNet(SHAPE, 10, blocks=0), r"model\.blocks"),
        (lambda: Pretrained(SHAPE, 10, name="resnet81"), r"model\.name=resnet81.*resnet18"),
        (lambda: Pretrained(SHAPE, 10, size=8), r"model\.size=8"),
        (lambda: Pretrained(SHAPE, 10, weights="nowhere.pt"), r"model\.weights=nowhere.pt.*IMAGENET1K_V1"),
    ],
)
def test_invalid_options_are_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()
