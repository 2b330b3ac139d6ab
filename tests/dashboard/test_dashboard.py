"""The training seen from inside: nothing is disturbed, every tag is there, what is shown is right; the range test."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from src.cli.config import ROOT
from src.dashboard import image_grids
from src.dashboard.activations import histogram, observe, weighted_layers
from src.dashboard.callback import Dashboard, fixed_rows
from src.data.augment import Identity, Shift
from src.data.datamodule import ImageData
from src.errors import InputError
from src.finetune.closed_form import Ridge
from src.finetune.lora import LoRA
from src.finetune.method import Full, Head, ProbeThenFull
from src.model_files.checkpoint import CheckpointFiles, read_checkpoint
from src.models.lenet import LeNet
from src.models.resnet import ResNet
from src.training.callbacks import EMA, Checkpoints, NoProfiler
from src.training.losses import MeanSquaredError
from src.training.lr_range import RateRange, smoothed, suggest
from src.training.schedules import constant, onecycle
from src.training.task import Classifier

pytestmark = pytest.mark.filterwarnings("ignore:.*returned `None`.*")  # a head that is solved for makes no steps
LAYERS = ("features.0", "features.3", "head.0", "head.3", "head.6")  # of small_lenet


def small_lenet(data: ImageData) -> nn.Module:
    return LeNet(data.info.shape, data.info.num_classes, dropout=0.2)


def train(
    root: Path,
    folder: Path,
    *callbacks,
    make: Callable[[ImageData], nn.Module] = small_lenet,
    method=None,
    epochs: int = 2,
    resume: Path | None = None,
    compiled: bool = False,
    target: str = "class",
    augment=None,
    flags: dict | None = None,
    **options,
) -> Classifier:
    """A short run on small files, with a checkpoint and TensorBoard."""
    augment = augment or (Identity() if target == "angle" else Shift(1))
    data = ImageData("kmnist", root=str(root), download=False, val=50, batch_size=32, augment=augment, target=target)
    data.setup()
    torch.manual_seed(0)
    model = make(data)
    if method is not None:
        model = method.adapt(model, data.info.shape)
    if compiled:
        model.compile(backend="eager")
    given = {"optimizer": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)}
    task = Classifier(model, data.info, **{**given, "scheduler": onecycle, **options}, method=method)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[*callbacks, Checkpoints(str(folder / "checkpoints"))],
        logger=TensorBoardLogger(str(folder), name="", version="", default_hp_metric=False),
        plugins=[CheckpointFiles()],
        profiler=NoProfiler(),
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(folder),
        **(flags or {}),
    )
    trainer.fit(task, data, ckpt_path=resume)
    return task


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"images": 0, "histograms": 0, "scalars": 0, "tensors": 0})
    return found.Reload()


def saved(folder: Path) -> dict[str, Tensor]:
    content = read_checkpoint(folder / "checkpoints/last.ckpt")
    optimizer = content["optimizer_states"][0].get("state", {})
    moments = {f"{i}.{k}": v for i, state in optimizer.items() for k, v in state.items() if isinstance(v, Tensor)}
    return {**content["state_dict"], **content.get("current_model_state", {}), **moments}


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


def batch_normed(data: ImageData) -> nn.Module:
    return LeNet(data.info.shape, data.info.num_classes, dropout=0.2, batch_norm=True)


def residual(data: ImageData) -> nn.Module:
    return ResNet(data.info.shape, data.info.num_classes, (4, 8))


CASES = {
    "dropout": {},
    "batch norm, mixed": {"make": batch_normed, "mixup": 0.2, "cutmix": 0.5},
    "residual": {"make": residual},
    "accumulated": {"flags": {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1}},
    "cut by max_steps": {"flags": {"max_steps": 7}},
    "two looks in five epochs": {"epochs": 5, "every_epochs": 2},
    "compiled": {"compiled": True},
    "a number": {"target": "angle", "loss": MeanSquaredError()},
    "head on features": {"method": Head, "augment": Identity()},
    "lora": {"method": LoRA},
    "features, then images": {"method": ProbeThenFull, "augment": Identity()},
    "solved": {"method": Ridge, "augment": Identity()},
}


@pytest.mark.parametrize("name", CASES)
def test_training_ends_with_the_same_bits(data_root, tmp_path, name):
    case = dict(CASES[name])
    looks = {"every_epochs": case.pop("every_epochs", 1)}
    method = case.pop("method", lambda: None)
    plain = train(data_root, tmp_path / "plain", method=method(), **case)
    state = torch.get_rng_state()
    rich = train(data_root, tmp_path / "rich", Dashboard(sample=30, **looks), method=method(), **case)
    assert_same(dict(rich.model.state_dict()), dict(plain.model.state_dict()))
    assert_same(saved(tmp_path / "rich"), saved(tmp_path / "plain"))
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in rich.modules())
    tags, number = events(tmp_path / "rich").Tags(), case.get("target") == "angle"
    assert any(tag.startswith("weights/") for tag in tags["histograms"])
    assert any(tag.startswith("gradients/") for tag in tags["histograms"]) == (name != "solved")
    assert ("confusion/validation" in tags["images"]) == (not number)
    assert any(tag.startswith("pr/") for tag in tags["tensors"]) == (not number)


def test_averages_and_a_resumed_run_end_with_the_same_bits(data_root, tmp_path):
    case = {"make": batch_normed, "mixup": 0.2}
    train(data_root, tmp_path / "plain", EMA(0.9), epochs=3, **case)
    train(data_root, tmp_path / "rich", EMA(0.9), Dashboard(sample=30), epochs=3, **case)
    assert_same(saved(tmp_path / "rich"), saved(tmp_path / "plain"))
    last = tmp_path / "cut/checkpoints/last.ckpt"
    train(data_root, tmp_path / "cut", EMA(0.9), Dashboard(sample=30), epochs=3, flags={"max_steps": 7}, **case)
    train(data_root, tmp_path / "cut", EMA(0.9), Dashboard(sample=30), epochs=3, resume=last, **case)
    train(data_root, tmp_path / "bare", EMA(0.9), epochs=3, flags={"max_steps": 7}, **case)
    bare = tmp_path / "bare/checkpoints/last.ckpt"
    train(data_root, tmp_path / "bare", EMA(0.9), epochs=3, resume=bare, **case)
    assert_same(saved(tmp_path / "cut"), saved(tmp_path / "bare"))


@pytest.fixture(scope="module")
def rich(data_root, tmp_path_factory) -> tuple[Path, Classifier]:
    """A run of three epochs that was looked at: its folder and its task."""
    folder = tmp_path_factory.mktemp("rich")
    return folder, train(data_root, folder, Dashboard(sample=40, embedding_epochs=2), epochs=3)


def test_every_tag_is_there_in_every_epoch(rich):
    found = events(rich[0])
    tags = found.Tags()
    steps = [0, 5, 10, 15]  # before the first step, and after each epoch
    for group in ("weights", "activations", "gradients"):
        for layer in LAYERS:
            points = found.Histograms(f"{group}/{layer}")
            assert [point.step for point in points] == (steps if group != "gradients" else steps[1:])
    for layer in LAYERS[:-1]:
        assert [point.step for point in found.Scalars(f"dead/{layer}")] == steps
        assert all(0 <= point.value <= 1 for point in found.Scalars(f"dead/{layer}"))
    assert f"dead/{LAYERS[-1]}" not in tags["scalars"]
    for tag in ("filters/features.0", "maps/features.0", "maps/features.3"):
        assert [image.step for image in found.Images(tag)] == steps
    assert [image.step for image in found.Images("confusion/validation")] == steps[1:]
    names = rich[1].info.class_names
    assert {tag for tag in tags["tensors"] if tag.startswith("pr/")} == {f"pr/{name}" for name in names}
    assert [event.step for event in found.Tensors(f"pr/{names[0]}")] == steps[1:]
    assert "40 fixed" in found.Tensors("about/text_summary")[0].tensor_proto.string_val[0].decode()


def test_histograms_hold_every_value(rich):
    found, layers = events(rich[0]), weighted_layers(rich[1].model)
    for name, layer in layers.items():
        weights, truth = found.Histograms(f"weights/{name}")[-1].histogram_value, layer.weight.detach()
        assert weights.num == sum(weights.bucket) == truth.numel()
        assert weights.sum == pytest.approx(float(truth.sum()), rel=1e-4, abs=1e-4)
        assert (weights.min, weights.max) == pytest.approx((float(truth.min()), float(truth.max())))
        gradients = found.Histograms(f"gradients/{name}")[-1].histogram_value
        assert gradients.num == sum(gradients.bucket) == sum(p.numel() for p in layer.parameters())
        activations = found.Histograms(f"activations/{name}")[-1].histogram_value
        assert activations.num == sum(activations.bucket) > 0


def test_gradients_are_those_of_the_last_step(data_root, tmp_path):
    """Without momentum, what a step changes is the rate times the gradient."""
    before = {}

    class Keep(Callback):
        def on_before_optimizer_step(self, trainer, task, optimizer):
            before.update({name: p.detach().clone() for name, p in task.model.named_parameters()})

    options = {"optimizer": lambda groups: torch.optim.SGD(groups, lr=0.1), "scheduler": constant, "epochs": 1}
    task = train(data_root, tmp_path, Dashboard(sample=30), Keep(), **options)
    after = dict(task.model.named_parameters())
    for layer in LAYERS:
        logged = events(tmp_path).Histograms(f"gradients/{layer}")[-1].histogram_value
        names = (f"{layer}.weight", f"{layer}.bias")
        gradient = torch.cat([(before[name] - after[name].detach()).flatten() / 0.1 for name in names])
        assert logged.sum_squares == pytest.approx(float(gradient.square().sum()), rel=1e-3)
        assert (logged.min, logged.max) == pytest.approx((float(gradient.min()), float(gradient.max())), rel=1e-3)


def test_the_embedding_is_what_the_head_reads_with_labels_and_thumbnails(rich):
    folder, task = rich
    config = (folder / "projector_config.pbtxt").read_text()
    assert config.count("tensor_path") == 2  # after the second epoch, and at the end
    place = folder / "00015" / "features"
    rows = [line.split("\t") for line in (place / "metadata.tsv").read_text().splitlines()]
    assert rows[0] == ["image", "label", "answer", "is"]
    assert len(rows) == 41
    for name, label, answer, right in rows[1:]:
        assert right == ("right" if label == answer else "wrong")
        assert name == (f"is {label}" if label == answer else f"is {label}, answered {answer}")
    features = np.loadtxt(place / "tensors.tsv", delimiter="\t", ndmin=2)
    assert features.shape == (40, 84)
    logits = torch.tensor(features, dtype=torch.float32) @ task.model.head[-1].weight.T + task.model.head[-1].bias
    answers = [task.info.class_names[place] for place in logits.argmax(1).tolist()]
    assert answers == [row[2] for row in rows[1:]]
    from PIL import Image

    with Image.open(place / "sprite.png") as sprite:
        assert sprite.size == (7 * 28, 7 * 28)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "tanh", "sigmoid"])
def test_planted_dead_units_are_found(activation):
    net = LeNet((1, 28, 28), 10, activation=activation, pooling="avg")
    batches = [torch.randn(20, 1, 28, 28, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    with torch.no_grad():
        for layer, dead in ((net.features[0], 2), (net.head[0], 30)):
            layer.bias.uniform_(0.5, 1.0)  # all others answer something
            layer.weight[:dead], layer.bias[:dead] = 0, -50.0
    seen = observe(net, batches).activities
    first, third = seen["features.0"].dead, seen["head.0"].dead
    assert first.tolist() == [True] * 2 + [False] * 4
    assert third[:30].all()
    assert not third[30:].any()
    assert seen["head.4"].dead is None
    assert seen["features.0"].maps is None


def test_an_activation_belongs_to_the_convolution_before_it():
    net = ResNet((1, 28, 28), 10, (4, 8))
    seen = observe(net, [torch.randn(4, 1, 28, 28)], pictures=2).activities
    after = {name: activity.activation for name, activity in seen.items()}
    assert after["stem.0"] == after["stages.1.conv1"] == after["stages.1.conv2"] == "ReLU"
    assert after["stages.1.shortcut.0"] == after["head.1"] == ""
    assert seen["stages.1.conv2"].maps.shape == (2, 8, 14, 14)
    assert float(seen["stages.1.conv2"].low.min()) == 0


def test_modes_and_statistics_stay_as_they_were():
    net = LeNet((1, 28, 28), 10, batch_norm=True, dropout=0.5)
    net.train()
    net.features[1].eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    images = torch.randn(8, 1, 28, 28)
    state = torch.get_rng_state()
    observe(net, [images], pictures=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in net.modules()] == modes
    assert_same(dict(net.state_dict()), before)


def test_a_histogram_counts_what_is_finite():
    values = torch.tensor([0.0, 0.0, 1.0, float("nan"), float("inf"), -1.0])
    found = histogram(values)
    assert (found.low, found.high, found.count, found.total, sum(found.counts)) == (-1, 1, 4, 0, 4)
    assert len(found.edges) == len(found.counts)
    for constant_value in (0.0, 3.0, -1e8, 1e-12):
        found = histogram(torch.full((5, 2), constant_value))
        assert sum(found.counts) == 10
        assert found.edges == sorted(found.edges)
    assert histogram(torch.tensor([float("nan")])) is None


def test_the_sample_is_even_and_fixed():
    labels = torch.tensor([2, 0, 0, 0, 1, 2, 0, 1])
    rows = fixed_rows(labels, 5)
    assert labels[rows].tolist() == [0, 1, 2, 0, 1]
    assert rows.tolist() == fixed_rows(labels, 5).tolist()
    assert sorted(fixed_rows(labels, 100).tolist()) == list(range(8))
    assert fixed_rows(torch.rand(10), 5, numbers=True).tolist() == [0, 2, 4, 6, 8]


def test_pictures_are_drawn_of_every_kind_of_network():
    picture = image_grids.filter_grid(torch.randn(6, 1, 5, 5), (1, 28, 28), "a")
    assert (picture.dtype, picture.ndim, picture.shape[2]) == (np.uint8, 3, 3)
    assert image_grids.filter_grid(torch.randn(8, 3, 3, 3), (3, 32, 32), "a") is not None
    assert image_grids.filter_grid(torch.zeros(100, 784), (1, 28, 28), "a") is not None
    assert image_grids.filter_grid(torch.randn(10, 5), (1, 28, 28), "a") is None
    images = torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8)
    assert image_grids.map_grid(images, torch.randn(3, 4, 100, 80), "a", 9).ndim == 3
    counts = image_grids.count_confusion(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 2]), 3)
    assert counts.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
    for names in (("a", "b", "c"), ("Ankle boot", "T-shirt/top", "Dress")):
        assert image_grids.confusion(counts, names, "a").ndim == 3
    many = torch.eye(47, dtype=torch.int64)
    assert image_grids.confusion(many, tuple(map(str, range(47))), "a").shape[0] > 47 * 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every_epochs": 0}, "dashboard.every_epochs=0"),
        ({"sample": "all"}, "dashboard.sample=all"),
        ({"pictures": 101}, "dashboard.pictures=101"),
        ({"channels": 1.5}, "dashboard.channels=1.5"),
        ({"embedding_epochs": 0}, "dashboard.embedding_epochs=0"),
    ],
)
def test_a_wrong_knob_is_named(options, message):
    with pytest.raises(InputError, match=message) as error:
        Dashboard(**options)
    assert "\n" not in str(error.value)


def test_without_tensorboard_the_message_names_the_key(data_root, tmp_path):
    data = ImageData("kmnist", root=str(data_root), download=False, val=50)
    data.setup()
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        callbacks=[Dashboard()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(tmp_path),
    )
    with pytest.raises(InputError, match=r"give logger=tensorboard, or dashboard=none$") as error:
        trainer.fit(Classifier(small_lenet(data), data.info), data)
    assert "\n" not in str(error.value)


class Bowl(nn.Module):
    """One number as a linear function of pixels: with a squared error, the loss is a quadratic bowl."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1))


def test_the_curve_of_a_quadratic_gives_a_rate_that_descends():
    """Gradient descent on a x^2 / 2 diverges above 2 / a, and is fastest at 1 / a."""
    curvature, x = 5.0, 1.0
    rates = 1e-4 * (1e5 ** (np.arange(200) / 199))
    losses = []
    for rate in rates:
        losses.append(min(curvature * x * x / 2 + 0.01, 1e6))
        x = float(np.clip(x - rate * curvature * x, -1e3, 1e3))
    found = suggest(rates, np.array(losses))
    assert 0.001 < found.steepest < found.lowest <= 2 / curvature
    assert (found.rate, found.peak) == pytest.approx((found.lowest / 10, found.lowest / 3), rel=0.06)


def test_smoothing_keeps_constants_and_lines_and_is_not_late():
    assert smoothed(np.full(200, 3.0)) == pytest.approx(np.full(200, 3.0))
    line = np.arange(200.0)
    assert smoothed(line)[20:-20] == pytest.approx(line[20:-20])
    valley = np.abs(line - 80)
    assert smoothed(valley).argmin() == 80


def test_no_rate_is_suggested_of_nothing():
    rates = np.logspace(-5, 0, 50)
    assert suggest(rates[:10], np.ones(10)) is None
    assert suggest(rates, np.linspace(1, 2, 50)) is None
    assert suggest(rates, np.full(50, np.nan)) is None
    assert suggest(rates, np.linspace(2.303, 2.302, 50)) is None, "flat"
    exploded = np.concatenate([[2.3], np.full(10, 1e16), np.linspace(1e15, 1e14, 39)])
    assert suggest(rates, exploded) is None, "it fell only after it had exploded"


def range_test(root: Path, folder: Path, steps: int = 120, flags: dict | None = None, **options) -> RateRange:
    data = ImageData("kmnist", root=str(root), download=False, val=50, batch_size=32, target="angle")
    data.setup()
    torch.manual_seed(0)
    given = {"loss": MeanSquaredError(), "optimizer": lambda groups: torch.optim.SGD(groups, lr=0.123)}
    task = Classifier(Bowl(), data.info, **{**given, "scheduler": onecycle, **options})
    test = RateRange(str(folder), low=1e-6, high=1e2)
    trainer = Trainer(
        max_epochs=-1,
        max_steps=steps,
        accelerator="cpu",
        callbacks=[test],
        limit_val_batches=0,
        logger=TensorBoardLogger(str(folder), name="", version="", default_hp_metric=False),
        profiler=NoProfiler(),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=7,
        **(flags or {}),
    )
    trainer.fit(task, data)
    return test


@pytest.mark.parametrize("flags", [{}, {"accumulate_grad_batches": 2}])
def test_a_range_test_ends_where_the_loss_explodes(data_root, tmp_path, flags):
    test = range_test(data_root, tmp_path, flags=flags)
    assert test.exploded
    assert 20 < len(test.losses) < 120
    found = suggest(np.array(test.rates), np.array(test.losses))
    assert found.rate * 10 == pytest.approx(found.lowest, rel=0.06)
    # Gradient descent on a quadratic is stable below 2 over its largest curvature.
    data = ImageData("kmnist", root=str(data_root), download=False, val=50, target="angle")
    data.setup()
    images = data.normalize(data.train_set[torch.arange(len(data.train_set))][0]).flatten(1).double()
    edge = 2 / float(torch.linalg.eigvalsh(2 * images.T @ images / len(images))[-1])
    assert edge / 100 < found.rate < found.peak < edge
    with (tmp_path / "lr_range.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == pytest.approx(test.losses, rel=1e-4)
    assert np.diff(np.log([float(row["lr"]) for row in rows])) == pytest.approx(np.log(1e8) / 119, rel=1e-3)
    assert (tmp_path / "figures/lr_range.png").is_file()
    assert sorted(path.name for path in tmp_path.glob("**/*.ckpt")) == []
    logged = events(tmp_path)
    assert [point.value for point in logged.Scalars("lr_range/loss")] == pytest.approx(test.losses, rel=1e-5)
    assert "lr_range/curve" in logged.Tags()["images"]
    again = range_test(data_root, tmp_path / "again", flags=flags)
    assert again.losses == test.losses


def test_a_loss_that_is_no_number_ends_a_range_test_well(data_root, tmp_path):
    class BrittleSquaredError(MeanSquaredError):
        def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
            loss = super().forward(logits, labels)
            return loss * float("nan") if loss > 30 else loss

    test = range_test(data_root, tmp_path, loss=BrittleSquaredError())
    assert test.exploded
    assert not np.isfinite(test.losses[-1])
    assert "exploded" in test.says(suggest(np.array(test.rates), np.array(test.losses)))


def test_groups_keep_their_ratios(data_root, tmp_path):
    seen = []

    class Watch(RateRange):
        def on_before_optimizer_step(self, trainer, task, optimizer):
            seen.append([group["lr"] for group in optimizer.param_groups])

    options = {"optimizer": partial(torch.optim.SGD, lr=0.1), "method": Full(layer_decay=0.5)}
    test = Watch(str(tmp_path), low=1e-4, high=1e-2)
    train(data_root, tmp_path, test, **options)
    assert len(seen) == len(test.rates) == 10
    assert (test.rates[0], test.rates[-1]) == pytest.approx((1e-4, 1e-2))
    assert len(set(seen[0])) == len(LAYERS)
    for rates, rate in zip(seen, test.rates, strict=True):
        assert sorted(set(rates)) == pytest.approx([rate * 0.5**depth for depth in (4, 3, 2, 1, 0)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 0}, r"lr_range\.low=0"),
        ({"low": 1.0, "high": 0.1}, r"lr_range\.low=1\.0: below high, which is 0\.1"),
        ({"stop": 1}, r"lr_range\.stop=1"),
    ],
)
def test_a_range_that_is_none_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        RateRange("x", **options)


def test_a_range_test_of_a_head_that_is_solved_for_is_refused(data_root, tmp_path):
    with pytest.raises(InputError, match="makes none: give another finetune"):
        train(data_root, tmp_path, RateRange(str(tmp_path)), method=Ridge(), augment=Identity())


def command(folder: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            sys.executable, "-m", "src.train", "data=digits", "threads=1", "trainer.accelerator=cpu",
            f"hydra.run.dir={folder}", *words,
        ],
        cwd=ROOT, text=True, capture_output=True, timeout=120,
    )  # fmt: skip


@pytest.mark.slow
def test_the_command_with_a_dashboard_makes_the_same_weights(tmp_path):
    for name in ("none", "rich"):
        done = command(tmp_path / name, f"dashboard={name}", "trainer.max_epochs=2", "figures=false", "test=false")
        assert done.returncode == 0, done.stderr
    ours, theirs = (read_checkpoint(tmp_path / name / "checkpoints/last.ckpt") for name in ("rich", "none"))
    assert_same(ours["state_dict"], theirs["state_dict"])
    assert json.loads((tmp_path / "rich/status.json").read_text())["state"] == "finished"
    tags = events(tmp_path / "rich").Tags()
    assert {"confusion/validation", "filters/features.0"} <= set(tags["images"])
    assert list((tmp_path / "rich").glob("*/features/sprite.png"))


@pytest.mark.slow
def test_the_command_without_tensorboard_says_what_to_change(tmp_path):
    done = command(tmp_path, "dashboard=rich", "logger=csv")
    assert done.returncode == 1
    assert done.stderr.strip().endswith("give logger=tensorboard, or dashboard=none")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_the_range_test_is_one_command(tmp_path):
    done = command(tmp_path, "experiment=lr_range", "optimizer=sgd", "data.batch_size=32")
    assert done.returncode == 0, done.stderr
    assert "suggested optimizer.lr=" in done.stdout
    assert not list(tmp_path.glob("**/*.ckpt"))
    assert (tmp_path / "lr_range.csv").is_file()
    assert (tmp_path / "figures/lr_range.png").is_file()
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "finished"
