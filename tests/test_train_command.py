"""Commands as a user types them: exit codes, messages, the files they leave."""

import json
import pickle
import re
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf

from src.cli.config import ROOT
from src.model_files.checkpoint import load_model, read_checkpoint
from tests.commands import QUICK, files, one_line, output_of, run, start, train_digits, wait_for, weights

pytestmark = pytest.mark.slow
RUN_FILES = {
    ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml",
    "checkpoints/best.ckpt", "checkpoints/last.ckpt",
    "figures/confusion_matrix.png", "figures/reliability.png", "figures/worst_mistakes.png",
    "metrics.csv", "predictions.csv", "results.json", "status.json", "train.log",
}  # fmt: skip


def test_train_leaves_its_files_and_says_what_it_did(trained, tmp_path):
    done = train_digits(tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert files(tmp_path / "run") == RUN_FILES | {"hparams.yaml"}
    assert "epoch 2/2" in done.stdout
    assert "accuracy" in done.stdout
    assert "python -m src.evaluate ckpt=" in done.stdout
    assert json.loads((tmp_path / "run/status.json").read_text())["state"] == "finished"
    results = json.loads((tmp_path / "run/results.json").read_text())
    low, high = results["test"]["acc_ci95"]
    assert low < results["test"]["acc"] < high
    assert results["test"]["images"] == 360
    assert results["parameters"] == 61_706


def test_the_seconds_of_a_run_are_those_of_its_command(tmp_path):
    """From before Hydra wrote the config, which is before torch is imported, to the end of the figures."""
    done = train_digits(tmp_path / "run")
    assert done.returncode == 0, done.stderr
    results, status = (json.loads((tmp_path / "run" / name).read_text()) for name in ("results.json", "status.json"))
    config, figure = (
        (tmp_path / "run" / name).stat().st_mtime for name in (".hydra/config.yaml", "figures/confusion_matrix.png")
    )
    assert status["started"] < config
    assert results["seconds"] > figure - status["started"] - 0.1  # a file's time is that of the last clock tick
    printed = float(re.search(r"^([\d.]+) s; everything", done.stdout, re.MULTILINE)[1])
    assert round(results["seconds"], 1) <= printed <= round(status["seconds"], 1)


@pytest.mark.parametrize(("logger", "watched"), [("tensorboard", True), ("csv", False), ("none", False)])
def test_tensorboard_is_named_where_it_is_logged(tmp_path, logger, watched):
    words = [f"logger={logger}", "trainer.max_epochs=1", "figures=false", "test=false"]
    done = train_digits(tmp_path / "run", *words)
    assert done.returncode == 0, done.stderr
    assert ("tensorboard --logdir" in done.stdout) == watched
    assert "python -m src.evaluate ckpt=" in done.stdout


def test_tensorboard_has_every_tab_filled(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    curves = {
        "train/loss",
        "train/acc",
        "train/lr",
        "train/images_per_s",
        "val/acc",
        "val/loss",
        "test/acc",
        "final/test_acc",
    }
    assert curves | {"final/test_acc"} <= set(tags["scalars"])
    assert set(tags["images"]) == {"test/confusion_matrix", "test/worst_mistakes", "test/reliability"}
    assert tags["graph"]
    assert "config/text_summary" in tags["tensors"]
    assert not any(scalar.value == -1 for scalar in events.Scalars("final/test_acc"))
    results = json.loads((trained / "results.json").read_text())
    assert events.Scalars("final/test_acc")[-1].value == pytest.approx(results["test"]["acc"])


def test_evaluate_repeats_the_test_of_training(trained, tmp_path):
    done = run("src.evaluate", f"ckpt={trained}", f"hydra.run.dir={tmp_path}/e")
    assert done.returncode == 0, done.stderr
    ours, theirs = (json.loads((folder / "results.json").read_text()) for folder in (tmp_path / "e", trained))
    assert {key: ours[key] for key in theirs["test"]} == theirs["test"]
    assert files(tmp_path / "e") == {
        ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml",
        "evaluate.log", "predictions.csv", "results.json", "status.json",
        "figures/confusion_matrix.png", "figures/reliability.png", "figures/worst_mistakes.png",
    }  # fmt: skip


def test_evaluate_needs_only_the_file(trained, tmp_path):
    (tmp_path / "alone.ckpt").write_bytes((trained / "checkpoints/best.ckpt").read_bytes())
    done = run(
        "src.evaluate", f"ckpt={tmp_path}/alone.ckpt", "split=val", "figures=false", f"hydra.run.dir={tmp_path}/e"
    )
    assert done.returncode == 0, done.stderr
    best = read_checkpoint(trained / "checkpoints/best.ckpt")["callbacks"]["checkpoints"]["best_score"]
    assert json.loads((tmp_path / "e/results.json").read_text())["acc"] == pytest.approx(best, abs=1e-6)


def test_a_sweep_has_a_folder_per_job_and_one_failure_stops_no_other(tmp_path):
    done = run("src.train", *QUICK, "-m", "figures=false", "optimizer.lr=1e-3,-1,3e-3", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 1
    assert "optimizer.lr=-1: a number, at least 0" in done.stderr
    assert "Traceback" not in done.stderr
    states = [json.loads((tmp_path / str(job) / "status.json").read_text())["state"] for job in range(3)]
    assert states == ["finished", "failed", "finished"]
    text = (tmp_path / "1/train.log").read_text()
    assert text.strip().endswith("optimizer.lr=-1: a number, at least 0") and "Traceback" not in text


def test_resuming_continues_in_place_and_ends_bit_equal(trained, tmp_path):
    common = ["trainer.max_epochs=3", "model.dropout=0.2", "augment=affine"]
    process = start("src.train", *QUICK, f"hydra.run.dir={tmp_path}/run", *common)
    wait_for(tmp_path / "run/checkpoints/last.ckpt")
    process.kill()
    process.communicate()
    assert json.loads((tmp_path / "run/status.json").read_text())["state"] == "running"
    done = run("src.train", f"resume_from={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    ours, theirs = (weights(folder / "checkpoints/last.ckpt") for folder in (tmp_path / "run", trained))
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
    assert files(tmp_path / "run") - {"hparams.yaml"} == RUN_FILES
    results = [json.loads((folder / "results.json").read_text()) for folder in (tmp_path / "run", trained)]
    assert results[0]["test"] == results[1]["test"]


def test_a_run_cut_short_by_max_steps_goes_on_within_its_epoch(tmp_path):
    common = ["model.dropout=0.2", "augment=affine", "scheduler=constant", "figures=false", "test=false"]
    assert train_digits(tmp_path / "whole", *common).returncode == 0
    assert train_digits(tmp_path / "cut", *common, "trainer.max_steps=50").returncode == 0
    done = run("src.train", f"resume_from={tmp_path}/cut", "trainer.max_steps=-1")
    assert done.returncode == 0, done.stderr
    ours, theirs = (weights(tmp_path / name / "checkpoints/last.ckpt") for name in ("cut", "whole"))
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


def contents(folder):
    """The bytes of a run's files; its log may tell what was tried."""
    return {name: (folder / name).read_bytes() for name in files(folder) - {"train.log"}}


def test_a_refused_resume_leaves_the_run_as_it_was(trained, tmp_path, picture_folder):
    shutil.copytree(trained, tmp_path / "run")
    run_folder, before = tmp_path / "run", contents(tmp_path / "run")
    for words, expected in [
        (["model=mlp"], "model._target_"),
        (["optimizer=sgd"], "optimizer._target_"),
        (["seed=5"], "seed is 0, not 5"),
        (["data.batch_size=64"], "data.batch_size is 32, not 64"),
        (["data=folder", f"data.root={picture_folder}"], "data.name is digits, not folder"),
        (["-m", "seed=1,2"], "leave -m out"),
        (["hydra.run.dir=elsewhere"], "leave hydra.run.dir=elsewhere out"),
        (["hydra.output_subdir=x"], "leave hydra.output_subdir=x out"),
        (["trainer.max_epochs=9", "trainer.precision=12"], "Precision 12 is invalid"),
    ]:
        assert expected in one_line(run("src.train", f"resume_from={run_folder}", *words))
        assert contents(run_folder) == before
    for words in ([], ["trainer.max_epochs=1"], ["trainer.max_steps=10"]):
        done = run("src.train", f"resume_from={run_folder}", *words)
        assert done.returncode == 0 and "this run has ended (3 epochs, " in done.stdout
        assert contents(run_folder) == before
    (run_folder / "checkpoints/best.ckpt").write_bytes(b"PK")
    damaged = contents(run_folder)
    assert "best.ckpt" in one_line(run("src.train", f"resume_from={run_folder}", "trainer.max_epochs=4"))
    assert contents(run_folder) == damaged


def test_an_accepted_resume_is_recorded(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    before = {name: (trained / f".hydra/{name}.yaml").read_text() for name in ("config", "hydra", "overrides")}
    assert run("src.train", f"resume_from={tmp_path}/run", "trainer.max_epochs=4", "test=false").returncode == 0
    after = {name: (tmp_path / f"run/.hydra/{name}.yaml").read_text() for name in before}
    assert "max_epochs: 4" in after["config"] and "- test=false" in after["overrides"]
    old, new = (OmegaConf.create(texts["hydra"]).hydra for texts in (before, after))
    assert (new.output_subdir, new.runtime.choices) == (old.output_subdir, old.runtime.choices)
    assert json.loads((tmp_path / "run/status.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_a_checkpoint_and_the_resume_command(tmp_path, sent, status):
    folder = tmp_path / "run"
    process = start("src.train", *QUICK, "trainer.max_epochs=500", f"hydra.run.dir={folder}")
    wait_for(folder / "checkpoints/last.ckpt")
    process.send_signal(sent)
    out, err = output_of(process, 120)
    assert process.returncode == status
    assert "Traceback" not in out + err
    assert f"python -m src.train resume_from={folder}" in err
    assert load_model(folder / "checkpoints/last.ckpt").epoch >= 1
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"
    done = run("src.train", f"resume_from={folder}", "test=false", "trainer.max_time=00:00:00:01")
    assert done.returncode == 0, done.stderr


def test_a_loss_that_is_not_finite_fails_and_keeps_the_last_finite_weights(tmp_path):
    done = train_digits(
        tmp_path / "run", "optimizer=sgd", "optimizer.lr=1e18", "scheduler=constant", "trainer.max_epochs=3"
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: the loss is")
    assert len(done.stderr.strip().splitlines()) == 1
    for path in (tmp_path / "run").rglob("*.ckpt"):
        assert all(bool(value.isfinite().all()) for value in weights(path).values() if value.is_floating_point())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["model=lenett"], ["lenett", "cnn", "lenet", "pretrained"]),
        (["modle=lenet"], ["modle", "did you mean model"]),
        (["augment=null"], ["one of its options", "none"]),
        (["trainer.precison=16-mixed"], ["trainer.precison", "did you mean precision"]),
        (["optimizer.learning_rate=1"], ["optimizer.learning_rate", "lr"]),
        (["data.batch_size=0"], ["data.batch_size=0"]),
        (["views=3"], ["views=3", "5"]),
        (["optimizer.lr=-1"], ["optimizer.lr=-1"]),
        (["optimizer.lr=fast"], ["optimizer.lr=fast"]),
        (["data.shots=1000"], ["data.shots=1000", "class"]),
        (["data.val=5000"], ["data.val=5000"]),
        (["trainer.max_epochs=0"], ["trainer.max_epochs=0"]),
        (["trainer.max_epochs=ten"], ["trainer.max_epochs=ten"]),
        (["data=folder"], ["data.root"]),
        (["data=mnist", "data.root=nowhere", "data.download=false"], ["nowhere", "data.download=true"]),
        (["resume_from=nowhere"], ["resume_from=nowhere"]),
        (["callbacks.checkpoints.monitor=val/accuracy"], ["val/accuracy", "val/acc"]),
        (["seed=-1"], ["seed=-1"]),
        (["lenet"], ["lenet"]),
        (["data.batch_size=[1"], ["[1"]),
    ],
)
def test_bad_input_is_one_line(tmp_path, words, expected):
    line = one_line(run("src.train", *QUICK, f"hydra.run.dir={tmp_path}", *words))
    assert all(part in line for part in expected), line


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")
def test_no_gpu_is_one_line(tmp_path):
    line = one_line(run("src.train", "model=lenet", "trainer.accelerator=gpu", f"hydra.run.dir={tmp_path}"))
    assert "trainer.accelerator=auto" in line
    assert "trainer.accelerator=cpu" in line


def test_bad_checkpoints_are_one_line(trained, tmp_path, data_root):
    content = bytearray((trained / "checkpoints/best.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "damaged.ckpt").write_bytes(content)
    (tmp_path / "pickled.ckpt").write_bytes(pickle.dumps({"state_dict": {}}))
    for given, expected in [
        ([f"ckpt={tmp_path}/damaged.ckpt"], "damaged"),
        ([f"ckpt={tmp_path}/pickled.ckpt"], "no checkpoint"),
        ([f"ckpt={tmp_path}/nowhere"], "nowhere"),
        (["ckpt=https://example.org/x.ckpt"], "URLs"),
        ([], "ckpt is missing"),
        ([f"ckpt={trained}", "split=whole"], "train, val, test, all"),
        ([f"ckpt={trained}", "data=emnist", f"data.root={data_root}"], "does not know"),
        ([f"ckpt={trained}", "device=tpu"], "device=tpu"),
    ]:
        assert expected in one_line(run("src.evaluate", *given, f"hydra.run.dir={tmp_path}/e"))


@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"], ["-sc", "query=bash"]])
def test_help_answers_without_importing_torch(words, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "python -m src.train model=")
    code = f"import sys; sys.argv[1:] = {words}; from src import train; train.main()\n"
    code = f"import atexit, sys; atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr)); {code}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert "lenet" in done.stdout
    assert done.stderr.strip() == "False"


def test_lenet_reads_mnist_after_one_epoch(mnist_root, tmp_path):
    done = run(
        "src.train", f"data.root={mnist_root}", "trainer.max_epochs=1", "figures=false", f"hydra.run.dir={tmp_path}/run"
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["test"]["images"] == 10_000
    assert results["test"]["acc"] > 0.97


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of file sizes")
def test_a_disk_that_is_full_ends_in_one_line_and_the_run_is_resumed_elsewhere(tmp_path):
    import resource

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    words = [*QUICK, "figures=false", "threads=1", f"hydra.run.dir={tmp_path}/run"]
    done = subprocess.run(
        [sys.executable, "-m", "src.train", *words], capture_output=True, text=True, preexec_fn=small_files, cwd=ROOT
    )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ") and "ckpt is not written: File too large; make room" in line
    assert list((tmp_path / "run/checkpoints").iterdir()) == []
