"""The dashboard changes no bit of training, and writes every tag with the right content."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from PIL import Image
from torch import Tensor, nn

from src.dashboard.activations import weighted_layers
from src.dashboard.callback import Dashboard, balanced_rows
from src.data.augment import Identity
from src.data.datamodule import ImageData
from src.errors import InputError
from src.finetune.closed_form import Ridge
from src.finetune.lora import LoRA
from src.finetune.method import Head, ProbeThenFull
from src.model_files.checkpoint import read_checkpoint
from src.models.lenet import LeNet
from src.models.resnet import ResNet
from src.plotting import MANY_CLASSES
from src.training.ema import EMA
from src.training.losses import MeanSquaredError
from src.training.schedules import constant
from src.training.task import Classifier
from tests.commands import one_line, run
from tests.photo_files import write_photos
from tests.short_runs import LAYERS, assert_same, events, small_lenet, train

pytestmark = pytest.mark.filterwarnings("ignore:.*returned `None`.*")  # a closed-form head makes no steps
DIGITS = ["data=digits", "threads=1", "trainer.accelerator=cpu"]


def saved_tensors(folder: Path) -> dict[str, Tensor]:
    content = read_checkpoint(folder / "checkpoints/last.ckpt")
    optimizer = content["optimizer_states"][0].get("state", {})
    moments = {f"{i}.{k}": v for i, state in optimizer.items() for k, v in state.items() if isinstance(v, Tensor)}
    return {**content["state_dict"], **content.get("current_model_state", {}), **moments}


def batch_normed(data: ImageData) -> nn.Module:
    return LeNet(data.info.shape, data.info.num_classes, dropout=0.2, batch_norm=True)


def residual(data: ImageData) -> nn.Module:
    return ResNet(data.info.shape, data.info.num_classes, (4, 8))


CASES = {
    "dropout": {},
    "batch norm, mixup": {"make": batch_normed, "mixup": 0.2, "cutmix": 0.5},
    "residual": {"make": residual},
    "accumulated": {"flags": {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1}},
    "cut by max_steps": {"flags": {"max_steps": 7}},
    "two records in five epochs": {"epochs": 5, "every_epochs": 2},
    "compiled": {"compiled": True},
    "regression": {"target": "angle", "loss": MeanSquaredError()},
    "head on features": {"method": Head, "augment": Identity()},
    "lora": {"method": LoRA},
    "features, then images": {"method": ProbeThenFull, "augment": Identity()},
    "closed form": {"method": Ridge, "augment": Identity()},
}


@pytest.mark.parametrize("name", CASES)
def test_training_ends_with_the_same_bits(data_root, tmp_path, name):
    case = dict(CASES[name])
    options = {"every_epochs": case.pop("every_epochs", 1)}
    method = case.pop("method", lambda: None)
    plain = train(data_root, tmp_path / "plain", method=method(), **case)
    state = torch.get_rng_state()
    rich = train(data_root, tmp_path / "rich", Dashboard(sample=30, **options), method=method(), **case)
    assert_same(dict(rich.model.state_dict()), dict(plain.model.state_dict()))
    assert_same(saved_tensors(tmp_path / "rich"), saved_tensors(tmp_path / "plain"))
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in rich.modules())
    tags, number = events(tmp_path / "rich").Tags(), case.get("target") == "angle"
    assert any(tag.startswith("weights/") for tag in tags["histograms"])
    assert any(tag.startswith("gradients/") for tag in tags["histograms"]) == (name != "closed form")
    assert ("confusion/validation" in tags["images"]) == (not number)
    assert any(tag.startswith("pr/") for tag in tags["tensors"]) == (not number)


def test_averaged_and_resumed_runs_end_with_the_same_bits(data_root, tmp_path):
    case = {"make": batch_normed, "mixup": 0.2}
    train(data_root, tmp_path / "plain", EMA(0.9), epochs=3, **case)
    train(data_root, tmp_path / "rich", EMA(0.9), Dashboard(sample=30), epochs=3, **case)
    assert_same(saved_tensors(tmp_path / "rich"), saved_tensors(tmp_path / "plain"))
    last = tmp_path / "cut/checkpoints/last.ckpt"
    train(data_root, tmp_path / "cut", EMA(0.9), Dashboard(sample=30), epochs=3, flags={"max_steps": 7}, **case)
    train(data_root, tmp_path / "cut", EMA(0.9), Dashboard(sample=30), epochs=3, resume=last, **case)
    train(data_root, tmp_path / "bare", EMA(0.9), epochs=3, flags={"max_steps": 7}, **case)
    bare = tmp_path / "bare/checkpoints/last.ckpt"
    train(data_root, tmp_path / "bare", EMA(0.9), epochs=3, resume=bare, **case)
    assert_same(saved_tensors(tmp_path / "cut"), saved_tensors(tmp_path / "bare"))


def test_every_tag_is_written_in_every_epoch(rich):
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


@pytest.mark.parametrize("count", [3, 120])
def test_class_names_of_any_kind_have_tags_of_their_own(count, tmp_path):
    ends = [f"{index:03}{'y' * 70}" for index in range(count - 3)]
    names = sorted(["苹果", "$a_b$", "a\nb", *(f"{'x' * 70}{end}" for end in ends)])
    write_photos(tmp_path / "photos", 5, names=names)
    run = {"folder_of_pictures": True, "epochs": 1, "augment": Identity()}
    task = train(tmp_path / "photos", tmp_path / "run", Dashboard(sample=130), **run)
    assert list(task.info.class_names) == names
    found = events(tmp_path / "run")
    curves = [tag.removeprefix("pr/") for tag in found.Tags()["tensors"] if tag.startswith("pr/")]
    assert len(curves) == min(count, MANY_CLASSES) and max(map(len, curves)) < 67
    assert all(len(found.Tensors(f"pr/{curve}")) == 1 for curve in curves)
    if count == 3:
        assert set(curves) == {"苹果", "$a_b$", r"a\nb"}
    (table,) = (tmp_path / "run").rglob("metadata.tsv")
    rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    assert {len(row) for row in rows} == {4} and len({row[1] for row in rows}) == count
    (matrix,) = found.Images("confusion/validation")
    assert max(matrix.width, matrix.height) < 700


def test_histograms_count_every_value(rich):
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
    """Without momentum, a step changes a weight by the learning rate times its gradient."""
    before = {}

    class RecordWeights(Callback):
        def on_before_optimizer_step(self, trainer, task, optimizer):
            before.update({name: p.detach().clone() for name, p in task.model.named_parameters()})

    options = {"optimizer": lambda groups: torch.optim.SGD(groups, lr=0.1), "scheduler": constant, "epochs": 1}
    task = train(data_root, tmp_path, Dashboard(sample=30), RecordWeights(), **options)
    after = dict(task.model.named_parameters())
    for layer in LAYERS:
        logged = events(tmp_path).Histograms(f"gradients/{layer}")[-1].histogram_value
        names = (f"{layer}.weight", f"{layer}.bias")
        gradient = torch.cat([(before[name] - after[name].detach()).flatten() / 0.1 for name in names])
        assert logged.sum_squares == pytest.approx(float(gradient.square().sum()), rel=1e-3)
        assert (logged.min, logged.max) == pytest.approx((float(gradient.min()), float(gradient.max())), rel=1e-3)


def test_the_embedding_holds_the_head_s_inputs_with_labels_and_thumbnails(rich):
    folder, task = rich
    config = (folder / "projector_config.pbtxt").read_text()
    assert config.count("tensor_path") == 2  # after the second epoch, and at the end
    embedding = folder / "00015" / "features"
    rows = [line.split("\t") for line in (embedding / "metadata.tsv").read_text().splitlines()]
    assert rows[0] == ["image", "label", "answer", "is"]
    assert len(rows) == 41
    for name, label, answer, right in rows[1:]:
        assert right == ("right" if label == answer else "wrong")
        assert name == (f"is {label}" if label == answer else f"is {label}, answered {answer}")
    features = np.loadtxt(embedding / "tensors.tsv", delimiter="\t", ndmin=2)
    assert features.shape == (40, 84)
    logits = torch.tensor(features, dtype=torch.float32) @ task.model.head[-1].weight.T + task.model.head[-1].bias
    answers = [task.info.class_names[index] for index in logits.argmax(1).tolist()]
    assert answers == [row[2] for row in rows[1:]]
    with Image.open(embedding / "sprite.png") as sprite:
        assert sprite.size == (7 * 28, 7 * 28)


def test_the_sample_is_balanced_and_fixed():
    labels = torch.tensor([2, 0, 0, 0, 1, 2, 0, 1])
    rows = balanced_rows(labels, 5)
    assert labels[rows].tolist() == [0, 1, 2, 0, 1]
    assert rows.tolist() == balanced_rows(labels, 5).tolist()
    assert sorted(balanced_rows(labels, 100).tolist()) == list(range(8))
    assert balanced_rows(torch.rand(10), 5, numbers=True).tolist() == [0, 2, 4, 6, 8]


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
def test_an_invalid_option_is_named(options, message):
    with pytest.raises(InputError, match=message) as error:
        Dashboard(**options)
    assert "\n" not in str(error.value)


def test_without_tensorboard_the_error_names_the_key(data_root, tmp_path):
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


@pytest.mark.slow
def test_the_command_with_a_dashboard_ends_with_the_same_weights(tmp_path):
    for name in ("none", "rich"):
        words = [f"dashboard={name}", "trainer.max_epochs=2", "figures=false", "test=false"]
        done = run("src.train", *DIGITS, f"hydra.run.dir={tmp_path / name}", *words)
        assert done.returncode == 0, done.stderr
    ours, theirs = (read_checkpoint(tmp_path / name / "checkpoints/last.ckpt") for name in ("rich", "none"))
    assert_same(ours["state_dict"], theirs["state_dict"])
    assert json.loads((tmp_path / "rich/status.json").read_text())["state"] == "finished"
    tags = events(tmp_path / "rich").Tags()
    assert {"confusion/validation", "filters/features.0"} <= set(tags["images"])
    assert list((tmp_path / "rich").glob("*/features/sprite.png"))


@pytest.mark.slow
def test_the_command_without_tensorboard_names_the_key(tmp_path):
    done = run("src.train", *DIGITS, f"hydra.run.dir={tmp_path}", "dashboard=rich", "logger=csv")
    assert one_line(done).endswith("give logger=tensorboard, or dashboard=none")
