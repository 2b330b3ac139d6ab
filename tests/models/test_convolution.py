"""Convolution from its definition: every algorithm gives torch's values and gradients, or a one-line error."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.errors import InputError
from src.finetune.adapter import Adapter
from src.finetune.lora import DoRA, LoRA
from src.model_files.checkpoint import load_model, write_checkpoint
from src.models.convolution import ALGORITHMS, Conv2d, convolve, flip, make_conv2d
from src.models.convolution_geometry import output_size
from src.models.lenet import LeNet
from src.models.structure import find_head, parameter_blocks

TORCH_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
OURS = ("loops", "unfold", "fft")
SHAPE = (1, 28, 28)


def draw(number: int) -> tuple[Tensor, Tensor, Tensor | None, dict]:
    """A random convolution of 1 to 3 axes: inputs, weight, bias and options, in double precision."""
    rng = random.Random(number)
    axes = 1 + number % 3
    groups = rng.choice((1, 1, 2, 3))
    channels, outputs = groups * rng.randint(1, 3), groups * rng.randint(1, 2)
    kernel = [rng.randint(1, 4 - axes // 3) for _ in range(axes)]
    dilation, stride, padding = ([rng.randint(low, 3) for _ in range(axes)] for low in (1, 1, 0))
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    size = [low + rng.randint(0, 9 - 2 * axes) for low in least]
    if rng.random() < 0.3:  # one number for all axes
        stride, padding, dilation = rng.randint(1, 3), rng.randint(0, 2), 1
        size = [max(length, k) for length, k in zip(size, kernel, strict=True)]
    options = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in (("stride", stride), ("padding", padding), ("dilation", dilation))
    }
    generator = torch.Generator().manual_seed(number)

    def values(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    bias = values(outputs) if rng.random() < 0.7 else None
    weight = values(outputs, channels // groups, *kernel)
    return values(rng.randint(1, 3), channels, *size), weight, bias, {**options, "groups": groups}


def run(compute, inputs: Tensor, weight: Tensor, bias: Tensor | None, **options) -> tuple[Tensor, ...]:
    """The outputs, and the gradients of a function of them with respect to inputs, weight and bias."""
    outputs = compute(inputs, weight, bias, **options)
    slopes = torch.linspace(-1, 1, outputs.numel(), dtype=outputs.dtype).view_as(outputs)
    sources = [tensor for tensor in (inputs, weight, bias) if tensor is not None]
    return outputs, *torch.autograd.grad((outputs * slopes).sum(), sources)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("number", range(42))
def test_values_and_gradients_match_torchs(number, algorithm):
    *tensors, options = draw(number)
    expected = run(TORCH_CONVOLUTIONS[tensors[0].ndim - 3], *tensors, **options)
    actual = run(convolve, *tensors, **options, algorithm=algorithm)
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_the_random_convolutions_cover_all_options():
    drawn = [draw(number) for number in range(42)]
    for axes in (1, 2, 3):
        own = [(weight, options) for inputs, weight, _, options in drawn if inputs.ndim == axes + 2]
        assert {options["groups"] for _, options in own} == {1, 2, 3}
        for key, plain in (("stride", 1), ("padding", 0), ("dilation", 1)):
            assert any(isinstance(options[key], tuple) and max(options[key]) > plain for _, options in own)
            assert any(isinstance(options[key], int) for _, options in own)
        assert axes == 1 or any(len(set(weight.shape[2:])) > 1 for weight, _ in own), "a kernel that is not square"
    assert {bias is None for _, _, bias, _ in drawn} == {True, False}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_gradients_match_finite_differences(algorithm, axes):
    inputs = torch.randn(2, 2, *(4, 3, 3)[:axes], dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 1, *(2, 3, 1)[:axes], dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, dtype=torch.float64, requires_grad=True)
    options = {"stride": (2, 1, 1)[:axes], "padding": (1, 0, 1)[:axes], "groups": 2}
    assert torch.autograd.gradcheck(
        lambda *tensors: convolve(*tensors, **options, algorithm=algorithm), (inputs, weight, bias)
    )
    if axes < 3:
        assert torch.autograd.gradgradcheck(
            lambda *tensors: convolve(*tensors, **options, algorithm=algorithm), (inputs, weight, bias)
        )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_other_memory_layouts_and_half_precision(algorithm):
    inputs, weight, bias = torch.randn(4, 3, 12, 9), torch.randn(6, 3, 3, 2), torch.randn(6)
    expected = F.conv2d(inputs, weight, bias, 2, 1)
    for images in (inputs, inputs.to(memory_format=torch.channels_last), inputs.mT.contiguous().mT):
        torch.testing.assert_close(
            convolve(images, weight, bias, 2, 1, algorithm=algorithm), expected, rtol=1e-5, atol=1e-5
        )
    half = convolve(inputs.bfloat16(), weight.bfloat16(), bias.bfloat16(), 2, 1, algorithm=algorithm)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, rtol=0.05, atol=0.2)
    assert convolve(inputs[:0], weight, bias, 2, 1, algorithm=algorithm).shape == (0, 6, 6, 5)


# By hand


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_worked_example(algorithm):
    image = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]).view(1, 1, 3, 3)
    # Upper left minus lower right of every patch: 1-5, 2-6, 4-8, 5-9.
    kernel = torch.tensor([[1.0, 0], [0, -1]]).view(1, 1, 2, 2)
    assert convolve(image, kernel, algorithm=algorithm)[0, 0].allclose(torch.tensor([[-4.0, -4], [-4, -4]]), atol=1e-5)
    # Flipped, it is lower right minus upper left: the other sign.
    assert convolve(image, flip(kernel), algorithm=algorithm)[0, 0].allclose(
        torch.tensor([[4.0, 4], [4, 4]]), atol=1e-5
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_correlation_is_not_convolution(algorithm):
    image = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]).view(1, 1, 3, 3)
    kernel = torch.tensor([[1.0, 2], [3, 4]]).view(1, 1, 2, 2)
    # As it is:   1*1 + 2*2 + 3*4 + 4*5 = 37, and every step to the right adds 1+2+3+4 = 10, every step down 30.
    assert convolve(image, kernel, algorithm=algorithm)[0, 0].allclose(torch.tensor([[37.0, 47], [67, 77]]), atol=1e-4)
    # Flipped: 4*1 + 3*2 + 2*4 + 1*5 = 23.
    assert convolve(image, flip(kernel), algorithm=algorithm)[0, 0].allclose(
        torch.tensor([[23.0, 33], [53, 63]]), atol=1e-4
    )
    # A single bright pixel: convolution copies the kernel to it, correlation the flipped kernel.
    spot = torch.zeros(1, 1, 3, 3)
    spot[0, 0, 1, 1] = 1
    assert convolve(spot, flip(kernel), algorithm=algorithm).allclose(kernel, atol=1e-5)
    assert convolve(spot, kernel, algorithm=algorithm).allclose(flip(kernel), atol=1e-5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_polynomials_multiply_by_convolution(algorithm):
    # (1 + 2x + 3x^2) (4 + 5x) = 4 + 13x + 22x^2 + 15x^3
    first, second = torch.tensor([[[1.0, 2, 3]]]), torch.tensor([[[4.0, 5]]])
    assert convolve(first, flip(second), padding=1, algorithm=algorithm)[0, 0].allclose(
        torch.tensor([4.0, 13, 22, 15]), atol=1e-4
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_28x28_digit_under_a_3x3_kernel_gives_26x26(algorithm):
    digit, kernel = torch.rand(1, *SHAPE), torch.rand(1, 1, 3, 3)
    assert convolve(digit, kernel, algorithm=algorithm).shape == (1, 1, 26, 26)
    assert convolve(digit, kernel, padding=1, algorithm=algorithm).shape == (1, 1, 28, 28)
    assert convolve(digit, kernel, padding=1, stride=2, algorithm=algorithm).shape == (1, 1, 14, 14)


@pytest.mark.parametrize("number", range(30))
def test_output_size_counts_kernel_positions(number):
    inputs, weight, _, options = draw(number)
    axes = inputs.ndim - 2
    stride, padding, dilation = (
        options[key] if isinstance(options[key], tuple) else (options[key],) * axes
        for key in ("stride", "padding", "dilation")
    )
    for axis, (size, kernel) in enumerate(zip(inputs.shape[2:], weight.shape[2:], strict=True)):
        last = size + 2 * padding[axis] - 1 - dilation[axis] * (kernel - 1)  # the last position inside
        positions = range(0, last + 1, stride[axis])
        assert output_size(size, kernel, stride[axis], padding[axis], dilation[axis]) == len(positions)


# In a network


@pytest.mark.parametrize("algorithm", OURS)
@pytest.mark.parametrize("options", [{}, {"padded": False, "batch_norm": True, "pooling": "avg"}, {"deslant": True}])
def test_the_same_weights_give_the_same_logits_with_every_algorithm(algorithm, options):
    own, other = LeNet(SHAPE, 10, **options).eval(), LeNet(SHAPE, 10, convolution=algorithm, **options).eval()
    assert [type(m) for m in own.modules() if isinstance(m, nn.Conv2d)] == [nn.Conv2d] * 2, (
        "native is torch's own layer"
    )
    assert [m.algorithm for m in other.modules() if isinstance(m, nn.Conv2d)] == [algorithm] * 2
    images = torch.randn(5, *SHAPE)
    assert not torch.allclose(own(images), other(images), atol=1e-3)
    other.load_state_dict(own.state_dict(), strict=True)
    torch.testing.assert_close(own(images), other(images), rtol=1e-4, atol=1e-5)


def test_a_checkpoint_names_its_algorithm_and_one_without_means_native(tmp_path):
    info = {"shape": list(SHAPE), "class_names": list("0123456789"), "mean": [0.13], "std": [0.31]}
    weights = {f"model.{key}": value for key, value in LeNet(SHAPE, 10).state_dict().items()}
    images, logits = torch.randint(0, 256, (4, *SHAPE), dtype=torch.uint8), {}
    for algorithm in (None, *ALGORITHMS):
        model = {"_target_": "src.models.lenet.LeNet", **({"convolution": algorithm} if algorithm else {})}
        content = {"state_dict": weights, "config": {"model": model, "data": {}}, "facts": info, "epoch": 0}
        write_checkpoint(content, tmp_path / f"{algorithm}.ckpt")
        net = load_model(tmp_path / f"{algorithm}.ckpt")
        assert [getattr(m, "algorithm", None) for m in net.modules() if isinstance(m, nn.Conv2d)] == [
            None if algorithm == "native" else algorithm
        ] * 2
        logits[algorithm] = net(images).detach()
    for algorithm in ALGORITHMS:
        torch.testing.assert_close(logits[algorithm], logits[None], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("algorithm", OURS)
def test_one_seed_gives_the_same_initial_network_and_the_same_training(algorithm):
    networks = []
    for name in ("native", algorithm):
        torch.manual_seed(3)
        networks.append(LeNet(SHAPE, 10, convolution=name))
    assert all(torch.equal(a, b) for a, b in zip(*(n.state_dict().values() for n in networks), strict=True))
    images, labels = torch.randn(8, *SHAPE), torch.arange(8)
    for network in networks:
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()
    for ours, theirs in zip(*(n.parameters() for n in networks), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("algorithm", OURS)
def test_a_layer_differs_from_torchs_only_in_its_algorithm(algorithm):
    options = {"stride": (2, 1), "padding": (0, 2), "dilation": 2, "groups": 2, "bias": False}
    torch.manual_seed(1)
    theirs = nn.Conv2d(4, 6, (3, 2), **options)
    torch.manual_seed(1)
    ours = make_conv2d(4, 6, (3, 2), algorithm=algorithm, **options)
    assert isinstance(ours, nn.Conv2d)
    assert torch.equal(ours.weight, theirs.weight)
    images = torch.randn(2, 4, 9, 8)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-5)
    assert f"algorithm={algorithm}" in repr(ours)


@pytest.mark.filterwarnings("ignore:.*jit.trace")  # TensorBoard draws its graph with it
@pytest.mark.parametrize("algorithm", OURS)
def test_tracing_and_exporting_see_one_convolution(algorithm):
    layer, images = make_conv2d(2, 3, 3, algorithm=algorithm).eval(), torch.randn(2, 2, 7, 7)
    exported = torch.export.export(layer, (images,), dynamic_shapes=({0: torch.export.Dim("images")},))
    traced = torch.jit.trace(layer, images, check_trace=False)
    for graph, nodes in (
        (exported.module(), [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]),
        (traced, [node.kind() for node in traced.inlined_graph.nodes() if node.kind().startswith("aten")]),
    ):
        assert len(nodes) == 1
        assert "conv" in nodes[0]
        torch.testing.assert_close(graph(images), layer(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [LoRA, DoRA, Adapter])
@pytest.mark.parametrize("algorithm", OURS)
def test_fine_tuning_finds_the_layers(algorithm, method):
    def adapted(name: str) -> nn.Module:
        torch.manual_seed(0)
        return method().adapt(LeNet(SHAPE, 10, convolution=name), SHAPE)

    ours, theirs = adapted(algorithm), adapted("native")
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert [name for name, _ in parameter_blocks(ours)] == [name for name, _ in parameter_blocks(theirs)]
    assert find_head(ours)[0] == find_head(theirs)[0]
    for model in (ours, theirs):  # a change that is not zero
        torch.manual_seed(1)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.1)
    images = torch.randn(3, *SHAPE)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-3, atol=1e-4)
    if method.mergeable:
        before = ours(images)
        method().merge(ours)
        torch.testing.assert_close(ours(images), before, rtol=1e-4, atol=1e-5)


# Arguments that do not fit

IMAGES, WEIGHT = torch.zeros(2, 4, 8, 8), torch.zeros(6, 4, 3, 3)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((IMAGES[0], WEIGHT), "4x8x8 with a weight of 6x4x3x3"),
        ((torch.zeros(1, 1, 2, 2, 2, 2), torch.zeros(1, 1, 1, 1, 1, 1)), "one to three spatial axes"),
        ((IMAGES, WEIGHT[:, :3]), "4 channels .* 3 per group and groups=1: give inputs of 3 channels"),
        ((IMAGES, WEIGHT, None, 1, 0, 1, 2), "groups=2: give inputs of 8 channels"),
        ((IMAGES, WEIGHT, None, 1, 0, 1, 4), "groups=4: a whole number that divides the 4 channels and the 6 outputs"),
        ((IMAGES, WEIGHT, None, 1, 0, 1, 0), "groups=0"),
        ((IMAGES, WEIGHT, torch.zeros(5)), "bias of shape 5: give one number for each of 6"),
        ((IMAGES, WEIGHT, None, 0), "stride=0: a whole number, at least 1"),
        ((IMAGES, WEIGHT, None, 1.5), "stride=1.5"),
        ((IMAGES, WEIGHT, None, (1, 1, 1)), r"stride=\(1, 1, 1\).* one for each of 2 axes"),
        ((IMAGES, WEIGHT, None, 1, -1), "padding=-1: a whole number, at least 0"),
        ((IMAGES, WEIGHT, None, 1, "same"), "padding=same"),
        ((IMAGES, WEIGHT, None, 1, 0, (1, True)), "dilation"),
        ((IMAGES, WEIGHT, None, 1, 0, 4), "spans 9x9 is larger than the padded input of 8x8"),
        ((IMAGES[..., :1], WEIGHT, None, 1, (0, 0)), "spans 3x3 is larger than the padded input of 8x1"),
        ((IMAGES.long(), WEIGHT.long()), "torch.int64 .* real numbers"),
    ],
)
def test_arguments_that_do_not_fit_give_a_one_line_error(algorithm, arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        convolve(*arguments, algorithm=algorithm)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: LeNet(SHAPE, 10, convolution="winograd"),
            r"model\.convolution=winograd: one of native, loops, unfold",
        ),
        (lambda: LeNet(SHAPE, 10, convolution=None), r"model\.convolution=null"),
        (lambda: LeNet(SHAPE, 10, convolution=["fft"]), r"model\.convolution=\[fft\]: one of"),
        (
            lambda: LeNet((1, 8, 8), 10, convolution="fft"),
            "8x8 are too small .* each side needs 12 pixels or more",
        ),
        (lambda: Conv2d(1, 1, 3, padding="same", algorithm="fft"), "padding=same"),
        (lambda: Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), "padding=.* of reflect"),
    ],
)
def test_layers_and_networks_refuse_invalid_options(build, message):
    with pytest.raises(InputError, match=message):
        build()
