"""Classes of a user's own package through training: checked before it, saved, resumed exactly."""

import json

import pytest
import torch
from lightning.pytorch.callbacks import Callback, RichProgressBar

from src.cli.config import load_config
from src.errors import InputError
from src.model_files.checkpoint import load_model
from src.model_files.trust import VARIABLE, trusted
from src.training.build import build
from src.training.fit import fit
from src.training.results import write_results
from tests.own_package import write_package
from tests.training.sessions import SMALL, assert_equal, state

PLAIN = [word for word in SMALL if not word.startswith(("model.", "task."))]
NET = ["model._target_=ownparts.nets.Net", "trust=[ownparts]"]
AUROC = "metrics.auroc._target_=torchmetrics.classification.MulticlassAUROC"


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(write_package(tmp_path / "package", "ownparts")))
    monkeypatch.delenv(VARIABLE, raising=False)


def make_session(root, folder, *words, callbacks=()):
    return build(load_config([*PLAIN, f"data.root={root}", *words], output_dir=folder), callbacks=list(callbacks))


def run(root, folder, *words, callbacks=()):
    session = make_session(root, folder, *words, callbacks=callbacks)
    fit(session)
    return session


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["model._target_=ownparts.nets.Net"], r"give trust=\[ownparts\], or set MNIST_TRUST=ownparts"),
        (["model._target_=ownparts.nets.Net", "trust=[ownparts2]"], "there is no package of this name"),
        (["model._target_=ownparts.nets.Bare", "trust=[ownparts]"], "does not take shape and num_classes"),
        (["model._target_=ownparts.nets.Auxiliary", "trust=[ownparts]"], "returns a tuple in training"),
        (["model._target_=ownparts.nets.OneMore", "trust=[ownparts]"], "returns 2x11"),
        (["model._target_=ownparts.nets.Failing", "trust=[ownparts]"], "KeyError: 'no such layer'"),
        (["model._target_=ownparts.nets.Changing", "trust=[ownparts]"], "other weights each time"),
        (["model._target_=ownparts.nets.NoNetwork", "trust=[ownparts]"], "is another class"),
        (["model._target_=ownparts.nets.make_net", "trust=[ownparts]"], "is no class"),
        (["model._target_=ownparts.nets.Nett", "trust=[ownparts]"], "has no Nett; it has Net"),
        (["model._target_=ownpart.nets.Net", "trust=[ownparts]"], "no module ownpart "),
        (
            ["model._target_=ownparts.broken.Net", "trust=[ownparts]"],
            "division by zero, broken.py:1",
        ),
        (["model._target_=torchvision.models.resnet18"], "model=pretrained model.name=resnet18"),
        (["model._target_=torch.nn.Linear"], "does not take shape and num_classes"),
        (["model._target_=os.system"], "is no class"),
        (["loss._target_=ownparts.parts.UnreducedLoss"], "returns no single number"),
        (["loss._target_=ownparts.parts.LearnedLoss"], "weights of its own"),
        (["loss._target_=torch.nn.NLLLoss", "task.mixup=0.2"], "probabilities of the same shape"),
        (["augment._target_=ownparts.parts.GlobalNoise"], "another generator"),
        (["augment._target_=torchvision.transforms.v2.CenterCrop", "augment.size=20"], "makes 1x20x20 of 1x28x28"),
        (["callbacks.mine._target_=ownparts.parts.Loss"], r"is no lightning\.pytorch\.Callback"),
        (["optimizer._target_=torch.optim.LBFGS"], "several times a step"),
        (["optimizer._target_=torch.optim.SparseAdam"], "dense gradients"),
        (["optimizer._target_=ownparts.parts.Flip"], "optimizer"),
        (["scheduler._target_=torch.optim.lr_scheduler.OneCycleLR"], "max_lr"),
        (["scheduler._target_=torch.optim.lr_scheduler.ExponentialLR", "scheduler.gama=1"], "gama"),
        (["scheduler._target_=ownparts.parts.Flip"], "scheduler"),
        (["metrics.acc._target_=torchmetrics.classification.MulticlassAUROC"], "is the name of another value"),
        (["metrics.x._target_=torchmetrics.classification.MulticlassAUROC", "metrics.x.average=none"], "one number"),
        (["metrics.x._target_=ownparts.parts.Loss"], "no torchmetrics metric"),
        (["metrics.x._target_=torchmetrics.MeanSquaredError"], "cannot be computed"),
        ([AUROC, "callbacks.checkpoints.monitor=val/auc"], "val/auc is not measured; there are .*val/auroc"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_cannot_be_trained_is_said_in_one_line_before_the_first_epoch(data_root, tmp_path, words, reason):
    with pytest.raises(InputError, match=reason) as caught:
        make_session(data_root, tmp_path / "run", *words)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_own_network_and_its_parts_train_and_load(data_root, tmp_path):
    words = [*NET, "model.width=5", AUROC, "metrics.sure._target_=ownparts.parts.Confidence"]
    words += ["loss._target_=ownparts.parts.Loss", "loss.scale=0.5", "augment._target_=ownparts.parts.Flip"]
    words += ["callbacks.mine._target_=ownparts.parts.Counter", "callbacks.checkpoints.monitor=val/sure"]
    trained = run(data_root, tmp_path / "run", *words)
    results = write_results(trained)
    assert type(trained.task.model).__name__ == "Net"
    assert trained.config["model"] == {"_target_": "ownparts.nets.Net", "width": 5}  # nothing of LeNet's
    assert trained.config["loss"] == {"_target_": "ownparts.parts.Loss", "scale": 0.5}
    assert trained.checkpoints.mode == "min"  # Confidence says that lower is better
    assert {"auroc", "sure"} <= results["val"].keys() and {"auroc", "sure"} <= results["test"].keys()
    assert json.loads((tmp_path / "run/results.json").read_text())["test"]["auroc"] == results["test"]["auroc"]
    best = tmp_path / "run/checkpoints/best.ckpt"
    with pytest.raises(InputError, match=r"trust=\[ownparts\]"):
        load_model(best)
    with trusted("ownparts"):
        net = load_model(best)
    images, labels = next(iter(trained.data.test_dataloader()))
    assert torch.equal(net(images), net(images)) and net(images).shape == (len(labels), 10)


def test_torch_losses_optimizers_and_schedulers_work_as_they_are(data_root, tmp_path):
    words = ["optimizer._target_=torch.optim.NAdam", "scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingLR"]
    words += ["scheduler.T_max=3", "loss._target_=torch.nn.CrossEntropyLoss", "loss.label_smoothing=0.1"]
    trained = run(data_root, tmp_path, *words)
    assert isinstance(trained.task.optimizers().optimizer, torch.optim.NAdam)
    assert trained.trainer.lr_scheduler_configs[0].interval == "epoch"
    assert trained.task.optimizers().param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)  # after T_max epochs


@pytest.mark.parametrize("shown", [True, False])
def test_another_progress_bar_takes_the_place_of_ours(data_root, tmp_path, shown):
    bar = ["callbacks.progress=null", "+callbacks.rich._target_=lightning.pytorch.callbacks.RichProgressBar"]
    session = make_session(data_root, tmp_path / "run", *bar, f"trainer.enable_progress_bar={str(shown).lower()}")
    assert isinstance(session.trainer.progress_bar_callback, RichProgressBar) == shown


@pytest.mark.parametrize(
    ("words", "interval"),
    [
        (["ExponentialLR", "scheduler.gamma=0.9"], "epoch"),
        (["ExponentialLR", "scheduler.gamma=0.9", "scheduler.interval=step"], "step"),
        (["OneCycleLR", "scheduler.max_lr=0.01"], "step"),
        (["ReduceLROnPlateau", "scheduler.monitor=val/acc", "scheduler.patience=0"], "epoch"),
    ],
)
def test_a_scheduler_of_torch_steps_as_it_is_meant_to(data_root, tmp_path, words, interval):
    target, *options = words
    trained = run(data_root, tmp_path, f"scheduler._target_=torch.optim.lr_scheduler.{target}", *options)
    config = trained.trainer.lr_scheduler_configs[0]
    assert (config.interval, type(config.scheduler).__name__) == (interval, target)
    if target == "ReduceLROnPlateau":
        assert config.scheduler.mode == "max"
    if target == "OneCycleLR":
        assert config.scheduler.total_steps == trained.trainer.global_step


class Stop(Callback):
    """An exception in the middle of the second epoch, as of a lost machine."""

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        if trainer.current_epoch == 1 and batch_idx == 3:
            raise ConnectionError("gone")


@pytest.mark.parametrize("transform", ["torchvision", "own"])
def test_own_parts_resume_exactly(data_root, tmp_path, transform):
    words = [*NET, "optimizer._target_=torch.optim.NAdam", "callbacks.mine._target_=ownparts.parts.Counter", AUROC]
    words += ["scheduler._target_=torch.optim.lr_scheduler.OneCycleLR", "scheduler.max_lr=0.01"]
    if transform == "torchvision":
        words += ["augment._target_=torchvision.transforms.v2.RandomAffine", "augment.degrees=20"]
    else:
        words += ["augment._target_=ownparts.parts.Flip"]
    run(data_root, tmp_path / "whole", *words)
    with pytest.raises(ConnectionError):
        run(data_root, tmp_path / "cut", *words, callbacks=(Stop(),))
    last = tmp_path / "cut/checkpoints/last.ckpt"
    resumed = run(data_root, tmp_path / "cut", *words, f"resume_from={last}")
    assert_equal(state(last), state(tmp_path / "whole/checkpoints/last.ckpt"))
    assert [c.epochs for c in resumed.trainer.callbacks if type(c).__name__ == "Counter"] == [3]


def test_a_schedule_that_ends_before_a_longer_resumed_run_is_refused(data_root, tmp_path):
    words = ["scheduler._target_=torch.optim.lr_scheduler.OneCycleLR", "scheduler.max_lr=0.01"]
    run(data_root, tmp_path, *words, "trainer.max_epochs=1")
    last = tmp_path / "checkpoints/last.ckpt"
    with pytest.raises(InputError, match="OneCycleLR has 10 steps and training 20"):
        run(data_root, tmp_path, *words, "trainer.max_epochs=2", f"resume_from={last}")


def test_a_network_that_needs_contiguous_images_keeps_them(data_root, tmp_path, caplog):
    words = ["model._target_=ownparts.nets.Viewing", "trust=[ownparts]", "trainer.max_epochs=1"]
    with caplog.at_level("INFO"):
        run(data_root, tmp_path / "run", *words)
    assert "Viewing computes in the contiguous memory format, not in channels last: view size" in caplog.text
    with trusted(["ownparts"]):
        load_model(tmp_path / "run/checkpoints/last.ckpt")(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))
    with pytest.raises(InputError, match=r"memory_format=channels_last: Viewing cannot compute in it \(view size"):
        make_session(data_root, tmp_path / "other", *words, "memory_format=channels_last")
    with pytest.raises(InputError, match="memory_format=nhwc: one of auto, channels_last, contiguous"):
        make_session(data_root, tmp_path / "other", "memory_format=nhwc")
