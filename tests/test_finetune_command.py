"""Fine-tuning from the command line."""

import csv
import json
import shutil

import pytest
import torch
from omegaconf import OmegaConf

from src.model_files.checkpoint import load_model
from src.models.cnn import CNN
from src.models.mlp import MLP
from tests.commands import one_line, run, start, wait_for, weights
from tests.configs import write_teacher

pytestmark = pytest.mark.slow
TARGET = ["data=digits", "data.quarter_turns=1", "trainer.accelerator=cpu"]


def finetune(folder, init, *words):
    return run("src.train", f"init_from={init}", *TARGET, f"hydra.run.dir={folder}", "trainer.max_epochs=2", *words)


def test_a_source_and_a_number_of_shots_are_enough(trained, tmp_path):
    done = finetune(tmp_path / "run", trained, "data.shots=2")
    assert done.returncode == 0, done.stderr
    assert "head kept, 10 classes; normalization kept" in done.stdout
    assert "the last: callbacks.checkpoints.choose=last" in done.stdout
    results = json.loads((tmp_path / "run/results.json").read_text())
    transfer = results["transfer"]
    assert transfer["after"] == results["test"]["acc"] > transfer["before"]
    assert transfer["source"] == "digits"
    assert transfer["source_after"] < transfer["source_before"]
    assert transfer["bytes"] == (tmp_path / "run/checkpoints/best.ckpt").stat().st_size
    zero = run("src.evaluate", f"ckpt={trained}", *TARGET[:2], "figures=false", f"hydra.run.dir={tmp_path}/zero")
    assert zero.returncode == 0, zero.stderr
    assert json.loads((tmp_path / "zero/results.json").read_text())["acc"] == pytest.approx(
        transfer["before"], abs=1e-6
    )
    source_info, info = (load_model(folder / "checkpoints/best.ckpt").info for folder in (trained, tmp_path / "run"))
    assert (source_info.mean, source_info.std) == (info.mean, info.std)


def test_an_adapter_checkpoint_is_saved_and_evaluated_with_its_base(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "source")
    done = finetune(tmp_path / "run", tmp_path / "source", "finetune=lora", "checkpoint=adapter", "figures=false")
    assert done.returncode == 0, done.stderr
    small = tmp_path / "run/checkpoints/best.ckpt"
    assert small.stat().st_size < (trained / "checkpoints/best.ckpt").stat().st_size / 4
    ours = [f"ckpt={tmp_path}/run", f"hydra.run.dir={tmp_path}/e", "figures=false"]
    assert run("src.evaluate", *ours).returncode == 0
    accuracy = json.loads((tmp_path / "run/results.json").read_text())["test"]["acc"]
    assert json.loads((tmp_path / "e/results.json").read_text())["acc"] == accuracy
    again = finetune(tmp_path / "again", tmp_path / "run", "finetune=head", "figures=false", "test=false")
    assert again.returncode == 0, again.stderr
    (tmp_path / "source").rename(tmp_path / "moved")
    assert load_model(tmp_path / "again/checkpoints/best.ckpt").complete, (
        "a full checkpoint, not an adapter of an adapter"
    )
    assert "base=..." in one_line(run("src.evaluate", *ours))
    base = f"base={tmp_path}/moved/checkpoints/best.ckpt"
    assert run("src.evaluate", *ours, base).returncode == 0


def test_a_resumed_fine_tuning_is_bit_equal(trained, tmp_path):
    words = [f"init_from={trained}", *TARGET, "finetune=gradual", "trainer.max_epochs=6", "figures=false"]
    whole = run("src.train", *words, f"hydra.run.dir={tmp_path}/whole")
    assert whole.returncode == 0, whole.stderr
    process = start("src.train", *words, f"hydra.run.dir={tmp_path}/run")
    wait_for(tmp_path / "run/checkpoints/last.ckpt")
    process.kill()
    process.communicate()
    done = run("src.train", f"resume_from={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    ours, theirs = (weights(tmp_path / name / "checkpoints/last.ckpt") for name in ("run", "whole"))
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


@pytest.mark.parametrize("words", [["experiment=probe"], ["finetune=ridge", "augment=none"]], ids=["head", "ridge"])
def test_a_head_trained_on_cached_features_is_tested_on_images(words, trained, tmp_path):
    done = finetune(tmp_path / "run", trained, *words)
    assert done.returncode == 0, done.stderr
    transfer = json.loads((tmp_path / "run/results.json").read_text())["transfer"]
    assert transfer["after"] > transfer["before"] + 0.1
    again = run("src.evaluate", f"ckpt={tmp_path}/run", "figures=false", f"hydra.run.dir={tmp_path}/e")
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "e/results.json").read_text())["acc"] == transfer["after"]


def test_a_closed_form_head_stopped_within_an_epoch_is_solved_from_the_whole_epoch_after_resuming(trained, tmp_path):
    words = [f"init_from={trained}", *TARGET, "finetune=ridge", "trainer.max_epochs=1", "figures=false", "test=false"]
    for name, more in (("whole", []), ("run", ["trainer.max_steps=30"])):
        done = run("src.train", *words, *more, f"hydra.run.dir={tmp_path}/{name}")
        assert done.returncode == 0, done.stderr
    done = run("src.train", f"resume_from={tmp_path}/run", "trainer.max_steps=-1")
    assert done.returncode == 0, done.stderr
    ours, theirs = (weights(tmp_path / name / "checkpoints/last.ckpt") for name in ("run", "whole"))
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


def test_other_classes_get_a_fresh_head(trained, tmp_path):
    done = finetune(tmp_path / "run", trained, "data.classes={even:[0,2,4,6,8],odd:[1,3,5,7,9]}", "figures=false")
    assert done.returncode == 0, done.stderr
    assert "head replaced, 2 classes" in done.stdout
    net = load_model(tmp_path / "run/checkpoints/best.ckpt")
    assert net.info.class_names == ("even", "odd")
    assert json.loads((tmp_path / "run/results.json").read_text())["transfer"]["before"] is None


def test_an_angle_is_learned_and_evaluated(trained, tmp_path):
    words = ["experiment=angle", "data=digits", "trainer.max_epochs=3", "trainer.accelerator=cpu"]
    done = run("src.train", *words, f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    test = json.loads((tmp_path / "run/results.json").read_text())["test"]
    assert test["mae"] <= test["rmse"] < 26, "better than always 0 degrees, whose rmse is 45 / sqrt(3)"
    assert test["r2"] > 0
    assert (tmp_path / "run/figures/estimates.png").is_file()
    again = run("src.evaluate", f"ckpt={tmp_path}/run", f"hydra.run.dir={tmp_path}/e")
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "e/results.json").read_text())["mae"] == pytest.approx(test["mae"], rel=1e-5)
    assert "give data.target=class" in one_line(
        run("src.evaluate", f"ckpt={trained}", "data.target=angle", f"hydra.run.dir={tmp_path}/e")
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["finetune=lora"], "init_from=<run"),
        (["init_from=nowhere"], "init_from=nowhere"),
        (["init_from=https://example.org/x.ckpt"], "URLs"),
        (["init_from={}", "model=cnn"], "leave model=cnn out"),
        (["init_from={}", "head=keep", "data.classes=[3,5]"], "head=keep"),
        (["init_from={}", "head=other"], "auto, keep, reset"),
        (["init_from={}", "finetune=lora", "finetune.rank=500"], "give at most 120"),
        (["init_from={}", "finetune=lora", "finetune.targets=[conv1]"], "features.0"),
        (["init_from={}", "finetune=norm"], "has no norms"),
        (["init_from={}", "finetune=last", "finetune.blocks=9"], "this network has 5"),
        (["init_from={}", "finetune=ridge", "callbacks=[default,ema]"], "leave ema out"),
        (["init_from={}", "data.classes=[x,1]"], "x is no class of this data set"),
        (["init_from={}", "data.ink=pen"], "none, mnist"),
        (["init_from={}", "data.target=angle", "augment=none"], "loss=mse"),
        (["init_from={}", "data.target=angle", "loss=mse"], "augment"),
        (["init_from={}", "finetune=anything"], "lora"),
        (["checkpoint=adapter"], "give init_from"),
        (["checkpoint=small"], "one of full, adapter"),
    ],
)
def test_invalid_input_gives_a_one_line_error(trained, tmp_path, words, expected):
    overrides = [word.replace("{}", str(trained)) if word.startswith("init_from") else word for word in words]
    assert expected in one_line(run("src.train", "data=digits", f"hydra.run.dir={tmp_path}", *overrides))


def recorded(folder) -> tuple[str, str]:
    """The network's class in a run's config, and the option of the group model."""
    config, hydra = (OmegaConf.load(folder / f".hydra/{name}.yaml") for name in ("config", "hydra"))
    return config.model._target_.rpartition(".")[2], hydra.hydra.runtime.choices.model


def test_runs_are_recorded_by_the_networks_of_their_sources(data_root, tmp_path):
    """A sweep over two, a run fine-tuned from one of its jobs, that run resumed, and the table of all."""
    sources = [write_teacher(tmp_path / f"{make.__name__}.ckpt", data_root, make) for make in (CNN, MLP)]
    data = ["data=kmnist", f"data.root={data_root}", "data.download=false", "data.val=50", "data.min_steps=0"]
    quick = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "figures=false", "test=false"]
    swept = [f"init_from={','.join(map(str, sources))}", f"hydra.sweep.dir={tmp_path}/sweep"]
    done = run("src.train", "-m", *swept, *data, *quick)
    assert done.returncode == 0, done.stderr
    assert [recorded(tmp_path / f"sweep/{job}") for job in (0, 1)] == [("CNN", "cnn"), ("MLP", "mlp")]
    chain = [f"init_from={tmp_path}/sweep/1", *data, *quick, "test=true", f"hydra.run.dir={tmp_path}/chain"]
    for words in (chain, [f"resume_from={tmp_path}/chain", "trainer.max_epochs=2"]):
        done = run("src.train", *words)
        assert done.returncode == 0, done.stderr
        assert recorded(tmp_path / "chain") == ("MLP", "mlp")
    hparams = read_hparams(tmp_path / "chain")
    assert hparams["model"].string_value == "MLP" and "model.pooling" not in hparams
    lenet = run("src.train", "model=lenet", *data, *quick, f"hydra.run.dir={tmp_path}/lenet")
    assert lenet.returncode == 0, lenet.stderr
    folders = [f"{tmp_path}/{name}" for name in ("sweep", "chain", "lenet")]
    done = run("src.compare", *folders, "figures=false", f"hydra.run.dir={tmp_path}/compared")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "compared/runs.csv").open(newline="") as file:
        assert sorted(row["model"] for row in csv.DictReader(file)) == ["cnn", "lenet", "mlp", "mlp"]


def read_hparams(folder) -> dict:
    """The hyperparameters in TensorBoard's HPARAMS tab."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = EventAccumulator(str(next(folder.rglob("events.out*")).parent)).Reload()
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    return dict(HParamsPluginData.FromString(content).session_start_info.hparams)
