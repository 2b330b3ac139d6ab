"""Training in process: what is learnt, saved, resumed; files that are right or refused."""

import csv
import math
import zipfile
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from src.data.augment import Affine
from src.data.datamodule import ImageData
from src.data.info import DataInfo
from src.evaluation.evaluate import compute_metrics, predict
from src.inference.tta import average_views, tta_views
from src.model_files.checkpoint import CheckpointFiles, load_model, read_checkpoint, write_checkpoint
from src.models.lenet import LeNet
from src.training.callbacks import EMA, Checkpoints, NoProfiler
from src.training.csv_logger import EpochCSVLogger
from src.training.schedules import onecycle
from src.training.task import Classifier, DivergedError

OPTIONS = {"_target_": "src.models.lenet.LeNet", "dropout": 0.2, "batch_norm": True}


class Stop(Callback):
    """Interrupts as Ctrl-C does, before a step or within validation."""

    def __init__(self, epoch: int, batch: int | None):
        self.epoch, self.batch = epoch, batch

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        if trainer.current_epoch == self.epoch and batch_idx == self.batch:
            raise KeyboardInterrupt

    def on_validation_batch_start(self, trainer, *args):
        if trainer.current_epoch == self.epoch and self.batch is None:
            raise KeyboardInterrupt


def make_data(root: Path, **options) -> ImageData:
    data = ImageData("kmnist", root=str(root), download=False, val=50, batch_size=16, augment=Affine(), **options)
    data.setup()
    return data


def make_task(data: ImageData, **options) -> Classifier:
    torch.manual_seed(0)
    model = LeNet(data.info.shape, data.info.num_classes, dropout=0.2, batch_norm=True)
    settings = {
        "optimizer": lambda groups: torch.optim.AdamW(groups, lr=3e-3),
        "scheduler": onecycle,
        "mixup": 0.2,
        "cutmix": 0.5,
        "config": {"model": OPTIONS, "data": {}},
    }
    return Classifier(model, data.info, **{**settings, **options})


def run(root: Path, folder: Path, epochs: int = 3, callbacks=(), resume=None, ema=True, **options) -> Classifier:
    data = make_data(root)
    task = make_task(data, **options)
    own = [*callbacks, Checkpoints(str(folder / "checkpoints"))] + ([EMA(decay=0.9)] if ema else [])
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=own,
        logger=EpochCSVLogger(str(folder / "metrics.csv")),
        plugins=[CheckpointFiles()],
        profiler=NoProfiler(),
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=4,
        default_root_dir=str(folder),
    )
    trainer.fit(task, data, ckpt_path=resume)
    return task


def weights(path: Path) -> dict:
    checkpoint = read_checkpoint(path)
    return {**checkpoint["state_dict"], **{f"raw.{k}": v for k, v in checkpoint.get("current_model_state", {}).items()}}


def assert_equal(ours: dict, theirs: dict) -> None:
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


@pytest.fixture(scope="module")
def whole(data_root, tmp_path_factory) -> Path:
    """The folder of an uninterrupted run of three epochs."""
    folder = tmp_path_factory.mktemp("whole")
    run(data_root, folder)
    return folder


def test_the_same_seed_gives_the_same_weights(whole, data_root, tmp_path):
    run(data_root, tmp_path)
    assert_equal(weights(tmp_path / "checkpoints/last.ckpt"), weights(whole / "checkpoints/last.ckpt"))
    run(data_root, tmp_path / "other", seed=1)
    other = weights(tmp_path / "other/checkpoints/last.ckpt")
    assert any(not torch.equal(value, other[key]) for key, value in weights(whole / "checkpoints/last.ckpt").items())


@pytest.mark.parametrize("ema", [True, False])
@pytest.mark.parametrize(("epoch", "batch"), [(1, 0), (1, 5), (0, 3), (2, None), (1, 9)])
def test_an_interrupted_and_resumed_run_ends_bit_equal(data_root, tmp_path, epoch, batch, ema):
    run(data_root, tmp_path / "a", ema=ema)
    with pytest.raises(SystemExit):
        run(data_root, tmp_path / "b", callbacks=[Stop(epoch, batch)], ema=ema)
    last = tmp_path / "b/checkpoints/last.ckpt"
    run(data_root, tmp_path / "b", resume=str(last), ema=ema)
    assert_equal(weights(last), weights(tmp_path / "a/checkpoints/last.ckpt"))
    if batch is not None:  # metrics of an epoch that was cut within validation are measured afresh
        ours, theirs = read_checkpoint(last), read_checkpoint(tmp_path / "a/checkpoints/last.ckpt")
        assert ours["callbacks"]["checkpoints"] == theirs["callbacks"]["checkpoints"]
        assert ours["lr_schedulers"] == theirs["lr_schedulers"]


def test_more_epochs_can_be_added(whole, data_root, tmp_path):
    copy_tree(whole, tmp_path)
    run(data_root, tmp_path, epochs=5, resume=str(tmp_path / "checkpoints/last.ckpt"))
    assert read_checkpoint(tmp_path / "checkpoints/last.ckpt")["epoch"] == 4
    with (tmp_path / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3", "4", "5"]


def copy_tree(source: Path, target: Path) -> None:
    import shutil

    shutil.copytree(source, target, dirs_exist_ok=True)


def test_last_is_the_last_epoch_and_best_the_best(whole):
    last, best = (read_checkpoint(whole / f"checkpoints/{name}.ckpt") for name in ("last", "best"))
    assert last["epoch"] == 2
    with (whole / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["val/acc"]) for row in rows]
    assert best["callbacks"]["checkpoints"]["best_score"] == pytest.approx(max(scores), abs=1e-6)
    assert best["epoch"] == scores.index(max(scores))
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_the_table_has_a_row_per_epoch_and_every_metric(whole):
    with (whole / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    expected = {f"val/{name}" for name in ("acc", "precision", "recall", "f1", "top2", "ece", "loss")}
    expected |= {"train/loss", "train/acc", "train/images_per_s", "train/lr", "epoch", "step"}
    assert set(rows[0]) == expected
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())


def test_it_learns(data_root, tmp_path):
    run(data_root, tmp_path, epochs=12, ema=False, mixup=0.0, cutmix=0.0)
    net = load_model(tmp_path / "checkpoints/best.ckpt")
    data = make_data(data_root)
    logits, labels = predict(net, data.test_dataloader())
    assert compute_metrics(logits, labels, net.info)["acc"] > 0.8


def test_a_loaded_model_gives_what_validation_measured(whole, data_root):
    net = load_model(whole / "checkpoints/best.ckpt")
    data = make_data(data_root)
    logits, labels = predict(net, data.val_dataloader())
    saved = read_checkpoint(whole / "checkpoints/best.ckpt")["callbacks"]["checkpoints"]["best_score"]
    assert compute_metrics(logits, labels, net.info)["acc"] == pytest.approx(saved, abs=1e-6)
    assert not net.training
    assert net.epoch == read_checkpoint(whole / "checkpoints/best.ckpt")["epoch"] + 1


def test_the_mean_of_five_looks_is_the_answer_of_a_loaded_model(whole, data_root, tmp_path):
    checkpoint = read_checkpoint(whole / "checkpoints/best.ckpt")
    checkpoint["config"]["views"] = 5
    write_checkpoint({key: value for key, value in checkpoint.items() if key != "digest"}, tmp_path / "five.ckpt")
    plain, five = load_model(whole / "checkpoints/best.ckpt"), load_model(tmp_path / "five.ckpt")
    images = make_data(data_root).val_set[torch.arange(20)][0]
    with torch.inference_mode():
        each = plain(tta_views(images)).softmax(1).view(5, 20, 10)
        answers = five(images)
        assert torch.allclose(each[0], plain(images).softmax(1), atol=1e-6)
        geometric = each.log().mean(0).exp()
        assert torch.allclose(answers.softmax(1), geometric / geometric.sum(1, keepdim=True), atol=1e-5)
        assert torch.allclose(answers, torch.cat([five(image.unsqueeze(0)) for image in images]), atol=1e-4)


def test_looks_turn_and_scale_about_the_middle():
    dot, bar = torch.zeros(2, 1, 29, 29)
    dot[0, 14, 14] = 200
    bar[0, 14, 8:21] = 200
    looks = tta_views(torch.stack([dot, bar]).to(torch.uint8)).view(5, 2, 29, 29)
    assert torch.equal(looks[0], torch.cat([dot, bar]))
    assert all(some[0].argmax() == 14 * 29 + 14 for some in looks), "the middle stays"
    ends = [some[1, :, 20].clamp(min=1).log().argmax().item() for some in looks]
    assert ends[1] == ends[2] != 14 != ends[3] == ends[4], "two turned one way, two the other"
    assert {ends[1] - 14, ends[3] - 14} == {-1, 1}
    ink = [some[1].sum().item() / looks[0][1].sum().item() for some in looks]
    assert ink == pytest.approx([1, 0.94**2, 1.06**2, 0.94**2, 1.06**2], abs=0.03)
    alike = torch.randn(4, 3).log_softmax(1)
    assert torch.allclose(average_views(alike.repeat(5, 1)), alike, atol=1e-6)


def test_a_loss_that_is_not_finite_ends_training_and_keeps_the_last_weights(data_root, tmp_path):
    run(data_root, tmp_path, epochs=1, ema=False)
    before = (tmp_path / "checkpoints/last.ckpt").read_bytes()
    with pytest.raises(DivergedError, match=r"the loss is (nan|inf).*epoch 2.*optimizer\.lr"):
        run(
            data_root,
            tmp_path,
            ema=False,
            resume=str(tmp_path / "checkpoints/last.ckpt"),
            callbacks=[Poison()],
        )
    assert (tmp_path / "checkpoints/last.ckpt").read_bytes() == before


class Poison(Callback):
    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        batch[0].fill_(float("nan"))


def test_a_checkpoint_is_plain(whole):
    path = whole / "checkpoints/best.ckpt"
    assert torch.load(path, weights_only=True)["facts"]["class_names"][0] == "o"
    with zipfile.ZipFile(path) as archive:
        assert archive.comment.startswith(b"sha256:")


def test_the_best_score_survives_a_resume(tmp_path):
    """A later, worse epoch must not become the best because the run was stopped in between."""
    saved = Checkpoints(str(tmp_path))
    saved.load_state_dict({"best_score": 0.9, "best_epoch": 3})
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    info = DataInfo((1, 28, 28), tuple("0123456789"), (0.1,), (0.3,))
    saved.on_fit_start(trainer, Classifier(LeNet((1, 28, 28), 10), info))
    assert (saved.monitor, saved.best_score, saved.best_epoch) == ("val/acc", 0.9, 3)
