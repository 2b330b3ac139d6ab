"""Fine-tuning as a user types it."""

import json
import shutil

import pytest
import torch

from src.model_files.checkpoint import load_model
from tests.commands import one_line, run, start, wait_for, weights

pytestmark = pytest.mark.slow
TURNED = ["data=digits", "data.quarter_turns=1", "trainer.accelerator=cpu"]


def finetune(folder, init, *words):
    return run("src.train", f"init_from={init}", *TURNED, f"hydra.run.dir={folder}", "trainer.max_epochs=2", *words)


def test_a_start_and_a_number_of_shots_are_enough(trained, tmp_path):
    done = finetune(tmp_path / "run", trained, "data.shots=2")
    assert done.returncode == 0, done.stderr
    assert "head kept: 10 classes; its normalisation kept" in done.stdout
    assert "the last: callbacks.checkpoints.choose=last" in done.stdout
    results = json.loads((tmp_path / "run/results.json").read_text())
    gained = results["transfer"]
    assert gained["after"] == results["test"]["acc"] > gained["before"]
    assert gained["source"] == "digits"
    assert gained["source_after"] < gained["source_before"]
    assert gained["bytes"] == (tmp_path / "run/checkpoints/best.ckpt").stat().st_size
    zero = run("src.evaluate", f"ckpt={trained}", *TURNED[:2], "figures=false", f"hydra.run.dir={tmp_path}/zero")
    assert zero.returncode == 0, zero.stderr
    assert json.loads((tmp_path / "zero/results.json").read_text())["acc"] == pytest.approx(gained["before"], abs=1e-6)
    start_facts, info = (load_model(folder / "checkpoints/best.ckpt").info for folder in (trained, tmp_path / "run"))
    assert (start_facts.mean, start_facts.std) == (info.mean, info.std)


def test_changes_alone_are_saved_and_evaluated(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "start")
    done = finetune(tmp_path / "run", tmp_path / "start", "finetune=lora", "checkpoint=adapter", "figures=false")
    assert done.returncode == 0, done.stderr
    small = tmp_path / "run/checkpoints/best.ckpt"
    assert small.stat().st_size < (trained / "checkpoints/best.ckpt").stat().st_size / 4
    ours = [f"ckpt={tmp_path}/run", f"hydra.run.dir={tmp_path}/e", "figures=false"]
    assert run("src.evaluate", *ours).returncode == 0
    accuracy = json.loads((tmp_path / "run/results.json").read_text())["test"]["acc"]
    assert json.loads((tmp_path / "e/results.json").read_text())["acc"] == accuracy
    again = finetune(tmp_path / "again", tmp_path / "run", "finetune=head", "figures=false", "test=false")
    assert again.returncode == 0, again.stderr
    (tmp_path / "start").rename(tmp_path / "moved")
    assert load_model(tmp_path / "again/checkpoints/best.ckpt").complete, "no chain of files"
    assert "base=..." in one_line(run("src.evaluate", *ours))
    base = f"base={tmp_path}/moved/checkpoints/best.ckpt"
    assert run("src.evaluate", *ours, base).returncode == 0


def test_a_fine_tuning_is_resumed_bit_equal(trained, tmp_path):
    words = [f"init_from={trained}", *TURNED, "finetune=gradual", "trainer.max_epochs=6", "figures=false"]
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
def test_a_head_on_kept_features_is_tested_on_images(words, trained, tmp_path):
    done = finetune(tmp_path / "run", trained, *words)
    assert done.returncode == 0, done.stderr
    gained = json.loads((tmp_path / "run/results.json").read_text())["transfer"]
    assert gained["after"] > gained["before"] + 0.1
    again = run("src.evaluate", f"ckpt={tmp_path}/run", "figures=false", f"hydra.run.dir={tmp_path}/e")
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "e/results.json").read_text())["acc"] == gained["after"]


def test_a_solved_head_that_was_stopped_within_an_epoch_is_solved_from_all_of_it(trained, tmp_path):
    words = [f"init_from={trained}", *TURNED, "finetune=ridge", "trainer.max_epochs=1", "figures=false", "test=false"]
    for name, more in (("whole", []), ("run", ["trainer.max_steps=30"])):
        done = run("src.train", *words, *more, f"hydra.run.dir={tmp_path}/{name}")
        assert done.returncode == 0, done.stderr
    done = run("src.train", f"resume_from={tmp_path}/run", "trainer.max_steps=-1")
    assert done.returncode == 0, done.stderr
    ours, theirs = (weights(tmp_path / name / "checkpoints/last.ckpt") for name in ("run", "whole"))
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


def test_other_classes_replace_the_head(trained, tmp_path):
    done = finetune(tmp_path / "run", trained, "data.classes={even:[0,2,4,6,8],odd:[1,3,5,7,9]}", "figures=false")
    assert done.returncode == 0, done.stderr
    assert "head replaced: 2 classes" in done.stdout
    net = load_model(tmp_path / "run/checkpoints/best.ckpt")
    assert net.info.class_names == ("even", "odd")
    assert json.loads((tmp_path / "run/results.json").read_text())["transfer"]["before"] is None


def test_a_number_is_learnt_and_evaluated(trained, tmp_path):
    words = ["experiment=angle", "data=digits", "trainer.max_epochs=3", "trainer.accelerator=cpu"]
    done = run("src.train", *words, f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    test = json.loads((tmp_path / "run/results.json").read_text())["test"]
    assert test["mae"] <= test["rmse"] < 26, "better than always 0 degrees, which is 45 / sqrt(3)"
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
        (["checkpoint=small"], "full or adapter"),
    ],
)
def test_bad_input_is_one_line(trained, tmp_path, words, expected):
    given = [word.replace("{}", str(trained)) if word.startswith("init_from") else word for word in words]
    assert expected in one_line(run("src.train", "data=digits", f"hydra.run.dir={tmp_path}", *given))
