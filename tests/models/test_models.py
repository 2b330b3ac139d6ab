"""Networks, losses, optimizers, schedules."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from src.errors import InputError
from src.models.cnn import CNN
from src.models.convnet import ConvNet
from src.models.deslant import Deslant
from src.models.lenet import LeNet
from src.models.mlp import MLP
from src.models.pretrained import Pretrained
from src.models.resnet import ResNet
from src.training.losses import CrossEntropy, Focal, MeanSquaredError
from src.training.optimizers import MuonAdamW, parameter_groups
from src.training.schedules import constant, cosine, onecycle, plateau, step

SMALL = {"lenet": LeNet, "mlp": MLP, "convnet": ConvNet, "cnn": CNN, "resnet": ResNet}
SHAPE = (1, 28, 28)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("lenet", 61_706), ("mlp", 101_770), ("convnet", 387_614), ("cnn", 206_922), ("resnet", 77_754)],
)
def test_parameter_counts_are_the_ones_in_the_configs(name, parameters):
    assert count(SMALL[name](SHAPE, 10)) == parameters


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("shape", "classes"), [((1, 28, 28), 10), ((3, 32, 32), 7), ((2, 20, 24), 2)])
def test_any_channels_sizes_and_classes(name, shape, classes):
    assert SMALL[name](shape, classes)(torch.randn(3, *shape)).shape == (3, classes)


def test_the_tutorials_sizes_corrected():
    assert LeNet(SHAPE, 10).head[0].in_features == 16 * 5 * 5
    assert LeNet(SHAPE, 10, padded=False).head[0].in_features == 16 * 4 * 4
    assert ConvNet(SHAPE, 10).head[0].in_features == 16 * 14 * 14
    assert CNN(SHAPE, 10).head[0].in_features == 32 * 7 * 7


def test_pooling_before_a_monotone_activation_changes_nothing():
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
def test_nonsense_is_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "densenet121", "shufflenet_v2_x0_5"]
)
def test_torchvision_networks_fit_grey_images_and_any_classes(name):
    assert Pretrained(SHAPE, 7, name=name, size=64)(torch.randn(2, *SHAPE)).shape == (2, 7)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["vit_b_32", "swin_t", "inception_v3", "googlenet", "convnext_tiny", "efficientnet_b0"]
)
def test_larger_torchvision_networks_run_at_their_own_size(name):
    assert Pretrained(SHAPE, 5, name=name).eval()(torch.randn(1, *SHAPE)).shape == (1, 5)


def test_a_grey_image_gives_what_its_rgb_copy_gave(tmp_path):
    from torchvision.models import resnet18

    source = resnet18(num_classes=1000).eval()
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    model = Pretrained(SHAPE, 1000, name="resnet18", weights=str(tmp_path / "weights.pt"), size=64).eval()
    grey = torch.randn(2, 1, 64, 64)
    assert torch.allclose(model(grey), source(grey.expand(-1, 3, -1, -1)), atol=1e-4)


def test_another_number_of_classes_starts_a_new_head_and_keeps_the_rest(tmp_path):
    from torchvision.models import resnet18

    source = resnet18(num_classes=1000)
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    net = Pretrained((3, 28, 28), 10, name="resnet18", weights=str(tmp_path / "weights.pt"), size=64).net
    assert net.fc.out_features == 10
    theirs = source.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in net.state_dict().items() if not key.startswith("fc."))


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(InputError, match="do not fit"):
        Pretrained(SHAPE, 10, weights=str(tmp_path / "weights.pt"), size=64)
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(InputError, match="no file of weights"):
        Pretrained(SHAPE, 10, weights=str(tmp_path / "text.pt"), size=64)


LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1, 2, 3, 1, 0])


@pytest.mark.parametrize("loss", [CrossEntropy, Focal, MeanSquaredError])
def test_losses_take_labels_or_probabilities(loss):
    for options in ({}, {"label_smoothing": 0.1}, {"class_weights": [1.0, 2.0, 0.5, 1.0]}):
        criterion = loss(**options)
        soft = F.one_hot(TARGETS, 4).float()
        if "class_weights" not in options or loss is not CrossEntropy:  # torch weighs soft targets by B, not by weight
            assert torch.allclose(criterion(LOGITS, TARGETS), criterion(LOGITS, soft))


def test_losses_are_their_formulas():
    probs = LOGITS.softmax(1)
    right = probs[torch.arange(6), TARGETS]
    assert torch.allclose(CrossEntropy()(LOGITS, TARGETS), -right.log().mean())
    assert torch.allclose(Focal(gamma=0)(LOGITS, TARGETS), -right.log().mean())
    assert torch.allclose(Focal(gamma=2)(LOGITS, TARGETS), (-((1 - right) ** 2) * right.log()).mean())
    squared = (probs - F.one_hot(TARGETS, 4)).square().sum(1).mean()
    assert torch.allclose(MeanSquaredError()(LOGITS, TARGETS), squared)
    smooth = F.cross_entropy(LOGITS, TARGETS, label_smoothing=0.2)
    assert torch.allclose(Focal(gamma=0, label_smoothing=0.2)(LOGITS, TARGETS), smooth)
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0])
    weighted = F.cross_entropy(LOGITS, TARGETS, weights)
    assert torch.allclose(Focal(gamma=0, class_weights=weights.tolist())(LOGITS, TARGETS), weighted)


def test_balanced_weights_even_out_the_classes():
    counts = torch.tensor([10, 30, 60])
    weight = CrossEntropy(class_weights="balanced", class_counts=counts).weight
    assert torch.allclose(weight * counts, torch.full((3,), 100 / 3))


@pytest.mark.parametrize(
    "wrong",
    [
        {"label_smoothing": 1},
        {"label_smoothing": "no"},
        {"class_weights": "even"},
        {"class_weights": [-1.0, 1.0]},
        {"class_weights": [1.0, 1.0], "class_counts": torch.tensor([1, 2, 3])},
        {"class_weights": "balanced", "class_counts": torch.tensor([1, 0])},
    ],
)
def test_losses_refuse_nonsense(wrong):
    with pytest.raises(InputError, match=r"loss\."):
        CrossEntropy(**wrong)


def test_biases_and_norms_do_not_decay():
    model = LeNet(SHAPE, 10, batch_norm=True)
    decayed, free = parameter_groups(model, 0.1)
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim == 1 for p in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


def train_steps(model: nn.Module, optimizer, steps: int, start: int = 0) -> None:
    for index in range(start, start + steps):
        torch.manual_seed(index)
        loss = model(torch.randn(8, *SHAPE)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_muon_trains_matrices_adamw_the_rest_and_resumes_exactly():
    model, copy = LeNet(SHAPE, 10), LeNet(SHAPE, 10)
    optimizer = MuonAdamW(parameter_groups(model, 0.01), lr=1e-2)
    muon, adamw = optimizer.parts
    assert all(p.ndim == 2 for group in muon.param_groups for p in group["params"])
    assert all(p.ndim != 2 for group in adamw.param_groups for p in group["params"])
    train_steps(model, optimizer, 3)
    copy.load_state_dict(model.state_dict())
    resumed = MuonAdamW(parameter_groups(copy, 0.01), lr=5.0)
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))  # torch shares the tensors otherwise
    train_steps(model, optimizer, 3, start=3)
    train_steps(copy, resumed, 3, start=3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), copy.parameters(), strict=True))


@pytest.mark.parametrize("make", [constant, cosine, onecycle])
def test_schedules_reach_both_of_muons_parts(make):
    optimizer = MuonAdamW(parameter_groups(LeNet(SHAPE, 10), 0), lr=1.0)
    schedule = make(optimizer, total_steps=10, warmup=0.5)["scheduler"]
    optimizer.step()
    schedule.step()
    assert {group["lr"] for part in optimizer.parts for group in part.param_groups} == {schedule.get_last_lr()[0]}


def rates(make, total: int, **options) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = make(optimizer, total_steps=total, **options)["scheduler"]
    found = []
    for _ in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_schedules_have_their_shapes():
    assert rates(constant, 5) == [2.0] * 5
    assert rates(constant, 10, warmup=0.4)[:4] == pytest.approx([0.4, 0.8, 1.2, 1.6])
    fall = rates(cosine, 101, warmup=0)
    assert fall[0] == 2.0
    assert fall[50] == pytest.approx(1.0, abs=0.02)
    assert fall[-1] == pytest.approx(0, abs=0.01)
    cycle = rates(onecycle, 100, warmup=0.3, initial=0.1, final=0.01)
    assert cycle[0] == pytest.approx(0.2)
    assert max(cycle) == cycle[30] == 2.0
    assert cycle[-1] == pytest.approx(0.02)
    assert rates(step, 6, epochs=2, factor=0.1) == pytest.approx([2, 2, 0.2, 0.2, 0.02, 0.02])


def test_onecycle_is_torchs():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2.0, total_steps=200, pct_start=0.3, div_factor=10, final_div_factor=100, cycle_momentum=False
    )
    expected = []
    for _ in range(200):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < 200:
            theirs.step()
    ours = rates(onecycle, 200, warmup=0.3, initial=0.1, final=0.001)
    assert ours == pytest.approx(expected, abs=0.03)  # torch's peak is one step earlier


def test_plateau_watches_accuracies_upwards():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    assert plateau(optimizer, 1, monitor="val/acc")["scheduler"].mode == "max"
    assert plateau(optimizer, 1, monitor="val/loss")["scheduler"].mode == "min"


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (constant, {"warmup": 1}),
        (cosine, {"final": 2}),
        (onecycle, {"warmup": 0}),
        (onecycle, {"initial": 0}),
        (step, {"epochs": 0}),
        (step, {"factor": 0}),
        (plateau, {"patience": -1}),
        (plateau, {"factor": 1}),
    ],
)
def test_schedules_refuse_nonsense(make, wrong):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(InputError, match=rf"scheduler\.{next(iter(wrong))}"):
        make(optimizer, 10, **wrong)


# Upright digits


def slanted(slope: float) -> torch.Tensor:
    """A stroke across the middle of an image, each row `slope` pixels further left than the one above."""
    rows, columns = torch.arange(28.0).view(28, 1), torch.arange(28.0).view(1, 28)
    stroke = (1 - (columns - 13.5 + slope * (rows - 13.5)).abs() / 2.5).clamp(min=0)
    return (stroke * ((rows > 3) & (rows < 24))).view(1, 1, 28, 28)


def slant_of(images: torch.Tensor) -> float:
    return float(Deslant().shears(images[:, 0] - images.amin())[0, 0, 1])


@pytest.mark.parametrize("slope", [-0.5, -0.2, 0.3, 0.6])
def test_deslant_sets_digits_upright(slope):
    images = slanted(slope) * 2.8 - 0.4
    assert slant_of(images) == pytest.approx(-slope, abs=0.03)
    upright = Deslant()(images)
    assert abs(slant_of(upright)) < 0.02
    assert (upright - (slanted(0.0) * 2.8 - 0.4)).abs().mean() < 0.05
    assert upright.amin() == pytest.approx(-0.4, abs=1e-5)


def test_deslant_looks_at_each_image_by_itself_and_leaves_empty_ones():
    images = torch.cat([slanted(0.4), slanted(-0.3) * 5 - 2, torch.full((1, 1, 28, 28), -0.42)])
    together = Deslant()(images)
    for place in range(3):
        torch.testing.assert_close(together[place : place + 1], Deslant()(images[place : place + 1]))
    torch.testing.assert_close(together[2], images[2])
    torch.testing.assert_close(Deslant()(images * 3 + 1), together * 3 + 1)  # whatever the normalisation


def test_deslant_takes_any_shape_and_passes_gradients():
    images = torch.rand(2, 3, 20, 31, requires_grad=True)
    Deslant()(images).sum().backward()
    assert images.grad.abs().sum() > 0
    assert count(LeNet(SHAPE, 10, deslant=True)) == count(LeNet(SHAPE, 10))
