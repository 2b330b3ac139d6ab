"""What a source model hands on to the network that is fine-tuned."""

from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Callback

from src.cli.config import load_config
from src.dashboard.run_summary import flat_hyperparameters
from src.errors import InputError
from src.inference.model import InferenceModel
from src.model_files.checkpoint import read_checkpoint
from src.models.lenet import LeNet
from src.training.build import build
from src.training.fit import fit
from src.training.initialize import match_data_info


def test_the_source_gives_the_normalization_and_the_data_the_classes(small_kmnist):
    data = small_kmnist
    net = InferenceModel(LeNet((1, 28, 28), 10), data.info, {})
    names = tuple("abcdefghij")
    same, fresh = match_data_info(net, replace(data.info, mean=(0.9,), std=(0.8,)), "auto")
    assert (same.mean, same.std, fresh) == (net.info.mean, net.info.std, False)
    other, fresh = match_data_info(net, replace(data.info, class_names=names), "auto")
    assert (other.class_names, fresh) == (names, True)
    assert match_data_info(net, replace(data.info, class_names=names), "keep")[1] is False
    assert match_data_info(net, data.info, "reset")[1] is True
    with pytest.raises(InputError, match="head=keep: the source knows 10 classes, the data have 3"):
        match_data_info(net, replace(data.info, class_names=("a", "b", "c")), "keep")
    with pytest.raises(InputError, match=r"reads images of 1x28x28.*the data have 3x32x32"):
        match_data_info(net, replace(data.info, shape=(3, 32, 32)), "auto")


@pytest.fixture
def train_few(picture_folder, tmp_path):
    """A session on pictures of two classes, as typed."""

    def make(*words: str, callbacks: tuple | list = ()):
        root = ["data=folder", f"data.root={picture_folder}", f"output_dir={tmp_path / 'run'}", "run_name=test"]
        quick = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "logger=none"]
        return build(load_config([*root, *quick, *words]), callbacks=callbacks)

    return make


RESNET = ["model=resnet", "data.size=28", "model.widths=[4,4,4,4,4,4]"]  # its last stage has one pixel


def test_a_last_batch_of_one_image_trains_with_batch_norm(train_few):
    session = train_few(*RESNET, "data.batch_size=31")
    assert len(session.data.train_set) == 32, "the last batch would have one image"
    fit(session)
    assert session.trainer.global_step == 1


def test_batches_of_one_image_are_refused_where_a_batch_norm_sees_one_pixel(train_few):
    with pytest.raises(InputError, match=r"data\.batch_size=1.*batch norm.*data\.batch_size=2"):
        train_few(*RESNET, "data.batch_size=1")
    fit(train_few("model=resnet", "data.batch_size=1", "trainer.limit_train_batches=2"))  # 7x7 pixels


def test_a_callback_that_averages_after_the_last_checkpoint_is_refused(train_few):
    swa = "lightning.pytorch.callbacks.StochasticWeightAveraging"
    with pytest.raises(InputError, match=r"StochasticWeightAveraging.*callbacks=\[default,ema\]"):
        train_few(f"+callbacks.swa._target_={swa}", "+callbacks.swa.swa_lrs=0.01")


class Late(Callback):
    """Changes the weights at one moment."""

    def __init__(self, moment: str):
        setattr(self, moment, lambda trainer, task: next(task.parameters()).data.add_(1))


@pytest.mark.parametrize("moment", ["on_train_end", "on_fit_end", "on_validation_start", "on_train_epoch_end"])
@pytest.mark.parametrize("average", [[], ["callbacks=[default,ema]"]], ids=["raw", "ema"])
def test_weights_that_a_callback_changes_as_training_ends_are_told(train_few, moment, average, caplog):
    session = train_few(*average, callbacks=[Late(moment)])
    with caplog.at_level("WARNING"):
        fit(session)
    told = [record.getMessage() for record in caplog.records if "changed after the last checkpoint" in record.message]
    assert len(told) == (moment in ("on_train_end", "on_fit_end"))
    assert all("in Late: best.ckpt and last.ckpt hold those before" in line for line in told)


def test_the_session_has_the_config_of_the_network_that_init_from_brings(train_few, tmp_path):
    fit(train_few("model=cnn", "model.widths=[3,5]", "data.size=16"))
    source = f"init_from={tmp_path}/run"
    session = train_few(source, "experiment=finetune", "data.size=16", "data.min_steps=0")
    assert session.config["model"] == session.initial.config["model"]
    assert (session.config["model"]["_target_"], session.config["model"]["widths"]) == ("src.models.cnn.CNN", [3, 5])
    assert flat_hyperparameters(session.config)["model"] == "CNN"


def test_lightnings_own_average_is_what_is_saved(train_few, tmp_path):
    """By its hook a checkpoint holds the average; the raw weights lie beside it, to resume from."""
    session = train_few("+callbacks.avg._target_=lightning.pytorch.callbacks.EMAWeightAveraging", "data.batch_size=8")
    fit(session)
    saved = read_checkpoint(tmp_path / "run/checkpoints/last.ckpt")
    raw = saved["current_model_state"]
    assert any(not torch.equal(value, raw[key]) for key, value in saved["state_dict"].items())
    for key, value in session.task.state_dict().items():
        assert torch.equal(value, saved["state_dict"][key])
