"""Sweeps as a user types them."""

import csv
import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.commands import one_line, output_of, run, start
from tests.run_folders import make_run

pytestmark = pytest.mark.slow
QUICK = ["data=digits", "trainer.max_epochs=1", "trainer.accelerator=cpu", "figures=false"]


def sweep(folder: Path, *words: str):
    return run("src.train", "-m", *QUICK, f"hydra.sweep.dir={folder}", *words)


def rows(folder: Path, name: str = "runs") -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sweep") / "s"
    done = sweep(folder, "model=lenet,mlp", "optimizer.lr=1e-3,abc,1e-2", "seed=0,1", "figures=true", "test=false")
    assert done.returncode == 1
    assert "4 of 12 jobs failed" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert "[12/12]" in done.stdout and "left" in done.stdout
    return folder


def test_a_sweep_writes_tables_figures_and_the_best_experiment(swept, tmp_path):
    assert len(rows(swept)) == 12
    assert sum(row["state"] == "failed" for row in rows(swept)) == 4
    assert {row["n"] for row in rows(swept, "configurations")} == {"2", "0"}
    assert (swept / "table.md").is_file()
    drawn = {f"{name}.{suffix}" for name in ("curves", "parameters", "parallel") for suffix in ("png", "pdf")}
    assert {path.name for path in (swept / "figures").iterdir()} == drawn
    assert "mlp & 0.01 & " in (swept / "table.tex").read_text()
    again = run(
        "src.train", "--config-dir", str(swept / "best"), "experiment=best", f"hydra.run.dir={tmp_path / 'run'}"
    )
    assert again.returncode == 0, again.stderr


def test_a_failed_job_has_its_error_in_its_log_and_a_row(swept):
    failed = next(row for row in rows(swept) if row["state"] == "failed")
    assert "optimizer.lr=abc" in failed["error"]
    assert failed["error"] in (swept / failed["run"] / "train.log").read_text()


def test_every_job_is_in_the_hparams_tab_of_tensorboard(swept):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(swept / "0"))
    events.Reload()
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert "final/val_acc" in events.Tags()["scalars"]


def test_compare_repeats_the_table_of_a_sweep_and_joins_several(swept, tmp_path):
    done = run("src.compare", str(swept), f"hydra.run.dir={tmp_path / 'c'}")
    assert done.returncode == 0, done.stderr
    ours, theirs = rows(swept), rows(tmp_path / "c")
    assert ours == theirs
    done = run("src.compare", str(swept / "0"), str(swept / "8"), "metric=val/loss", f"hydra.run.dir={tmp_path / 'd'}")
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "d")) == 2


def test_compare_says_whether_two_runs_differ(tmp_path):
    for name, epochs in (("a", 1), ("b", 3)):
        done = run("src.train", *QUICK, f"trainer.max_epochs={epochs}", f"hydra.run.dir={tmp_path / name}")
        assert done.returncode == 0, done.stderr
        assert len(rows(tmp_path / name, "predictions")) == 360
    done = run("src.compare", str(tmp_path / "a"), str(tmp_path / "b"), f"hydra.run.dir={tmp_path / 'c'}")
    assert done.returncode == 0, done.stderr
    assert "against run b (trainer.max_epochs=3), the best by val/acc, on the same 360 test images" in done.stdout
    found = json.loads((tmp_path / "c/differences.json").read_text())
    (other,) = found["others"]
    shares = [sum(row["truth"] == row["answer"] for row in rows(tmp_path / name, "predictions")) for name in "ab"]
    assert other["gained"] - other["lost"] == shares[0] - shares[1]
    assert other["low"] < other["change"] < other["high"] and 0 <= other["p"] <= 1
    assert "McNemar" in (tmp_path / "c/table.md").read_text()


def test_compare_refuses_several_folders_with_one_run_in_them(tmp_path):
    folder = make_run(tmp_path, "only", [], 0.9)
    (tmp_path / "none").mkdir()
    fix = "give runs of src.train, or folders of src.evaluate themselves"
    only = f"error: nothing to compare: {folder} is the only run in these folders"
    there = f"hydra.run.dir={tmp_path}/c"
    assert one_line(run("src.compare", str(folder), f"{tmp_path}/none", there)) == (
        f"{only}; no run is in {tmp_path}/none; {fix}"
    )
    assert one_line(run("src.compare", str(folder), str(folder), there)) == f"{only}; {fix}"
    done = run("src.compare", str(folder), there, "figures=false")
    assert done.returncode == 0 and "1 run\n" in done.stdout


def test_compare_tells_what_it_left_out_and_fails_for_a_run_that_cannot_be_read(tmp_path):
    for number in range(3):
        make_run(tmp_path, number, [f"seed={number}"], 0.9)
    (tmp_path / "explained").mkdir()
    (tmp_path / "explained/status.json").write_text('{"state": "finished", "command": "explain"}')
    (tmp_path / "notes.txt").write_text("")
    given = [*map(str, sorted(tmp_path.iterdir())), f"{tmp_path}/0"]
    done = run("src.compare", *given, f"hydra.run.dir={tmp_path}/a")
    assert done.returncode == 0, done.stderr
    assert f"3 runs; no run is in {tmp_path}/explained, {tmp_path}/notes.txt" in done.stdout
    (tmp_path / "1/results.json").write_text('{"test": {"acc": "high"}}')
    done = run("src.compare", *given, f"hydra.run.dir={tmp_path}/b")
    assert "(1 damaged)" in done.stdout
    assert one_line(done) == (
        f"error: 1 of 3 runs cannot be read, the first: {tmp_path}/1 (results.json: test/acc is no number)"
    )


def test_the_folder_of_a_sweep_is_its_best_run_in_every_command(swept, tmp_path):
    finished = [row for row in rows(swept) if row["state"] == "finished"]
    best = max(finished, key=lambda row: float(row["val/acc"]))["run"]
    line = f"{swept}: run {best}, the best of {len(finished)} by val/acc"
    commands = [
        ("evaluate", "figures=false"),
        ("predict", "images=README.md"),
        ("explain", "figures=false"),
        ("export",),
    ]
    for command, *words in commands:
        done = run(f"src.{command}", f"ckpt={swept}", *words, f"hydra.run.dir={tmp_path / command}")
        assert f"ckpt={line}" in done.stdout + done.stderr, (command, done.stdout, done.stderr)
        assert f"ckpt={line}" in (tmp_path / command / f"{command}.log").read_text()
    done = run("src.train", *QUICK, f"init_from={swept}", f"hydra.run.dir={tmp_path / 'tuned'}")
    assert done.returncode == 0 and f"init_from={line}" in done.stderr
    assert f"init_from={swept}/{best}/checkpoints/best.ckpt" in done.stdout


def test_a_finished_sweep_runs_nothing_and_retry_failed_runs_the_failed_jobs(swept):
    before = {path: path.stat().st_mtime for path in swept.glob("*/results.json")}
    done = run("src.train", "-m", f"sweep.resume={swept}")
    assert done.returncode == 1 and "12 of them done" in done.stdout and "[" not in done.stdout
    done = run("src.train", "-m", f"sweep.resume={swept}", "sweep.retry_failed=true")
    assert done.returncode == 1 and done.stdout.count("failed: optimizer.lr=abc") == 4
    assert {path: path.stat().st_mtime for path in swept.glob("*/results.json")} == before


def test_max_jobs_ends_a_sweep_and_resume_adds_values(tmp_path):
    done = sweep(tmp_path / "s", "seed=0,1,2", "sweep.max_jobs=1")
    assert done.returncode == 0 and "sweep.max_jobs is reached, 2 jobs are left" in done.stdout
    done = run("src.train", "-m", "seed=0,1,2,3", f"sweep.resume={tmp_path / 's'}")
    assert done.returncode == 0, done.stderr
    assert [row["run"] for row in sorted(rows(tmp_path / "s"), key=lambda row: int(row["run"]))] == ["0", "1", "2", "3"]
    done = run("src.train", "-m", "trainer.max_epochs=2", f"sweep.resume={tmp_path / 's'}")
    assert done.returncode == 1 and "trainer.max_epochs was 1" in done.stderr


@pytest.mark.parametrize(
    ("sent", "status", "launcher"), [(signal.SIGTERM, 143, "joblib"), (signal.SIGINT, 130, "serial")]
)
def test_an_interrupt_leaves_a_complete_table_and_prints_the_resume_command(tmp_path, sent, status, launcher):
    words = [f"hydra/launcher={launcher}", "seed=0,1,2", "trainer.max_epochs=12", "test=false", "data=digits"]
    process = start("src.train", "-m", *words, "figures=false", f"hydra.sweep.dir={tmp_path / 's'}")
    end = time.monotonic() + 120
    while not list((tmp_path / "s").glob("*/checkpoints/last.ckpt")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(sent)
    _, err = output_of(process, 60)
    assert process.returncode == status, err
    assert "resume with: python -m src.train -m sweep.resume=" in err and "Traceback" not in err
    states = [row["state"] for row in rows(tmp_path / "s")]
    assert len(states) == 3 and states.count("interrupted") >= 1
    done = run("src.train", "-m", f"sweep.resume={tmp_path / 's'}", "hydra/launcher=joblib")
    assert done.returncode == 0, done.stderr
    assert [row["state"] for row in rows(tmp_path / "s")] == ["finished"] * 3


def test_a_killed_worker_loses_its_own_job_only(tmp_path):
    words = ["hydra/launcher=joblib", "seed=0,1,2,3", "trainer.max_epochs=12", "test=false", "data=digits"]
    process = start("src.train", "-m", *words, "figures=false", f"hydra.sweep.dir={tmp_path / 's'}")
    status = tmp_path / "s" / "1" / "status.json"
    end = time.monotonic() + 120
    while not (tmp_path / "s" / "1" / "checkpoints" / "last.ckpt").is_file():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    os.kill(json.loads(status.read_text())["pid"], signal.SIGKILL)
    _, err = output_of(process, 300)
    assert process.returncode == 1 and "1 of 4 jobs failed (#1)" in err and "was killed" in err
    assert sorted(row["state"] for row in rows(tmp_path / "s")) == ["failed", "finished", "finished", "finished"]


def test_cross_validation_gives_one_row_and_one_file_of_predictions(tmp_path):
    import numpy as np

    done = sweep(tmp_path / "s", "data.folds=3", "data.fold=0,1,2", "test=false")
    assert done.returncode == 0, done.stderr
    (only,) = rows(tmp_path / "s", "configurations")
    assert only["n"] == "3"
    with np.load(tmp_path / "s" / "out_of_fold.npz") as joined:
        assert joined["index"].tolist() == list(range(1437))
        right = joined["logits"].argmax(1) == joined["labels"]
    shares = [float(row["val/acc"]) for row in rows(tmp_path / "s")]
    assert right.mean() == pytest.approx(sum(shares) / 3, abs=2e-3)


def test_a_search_prunes_and_resumes(tmp_path):
    pytest.importorskip("optuna")
    words = [
        "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=6",
        "hydra.sweeper.startup=2",
        "hydra.sweeper.pruner_startup=2",
        "hydra.sweeper.pruner=median",
    ]
    space = ["optimizer.lr=tag(log, interval(1e-4, 1e-1))", "model=lenet,mlp"]
    done = run("src.train", "-m", "data=digits", "trainer.max_epochs=4", "test=false", "figures=true", *words, *space,
               f"hydra.sweep.dir={tmp_path / 's'}")  # fmt: skip
    assert done.returncode == 0, done.stderr
    states = [row["state"] for row in rows(tmp_path / "s")]
    assert "pruned" in states and "finished" in states
    assert (tmp_path / "s" / "study.db").is_file()
    assert (tmp_path / "s" / "figures" / "importance.png").is_file()
    more = run("src.train", "-m", f"sweep.resume={tmp_path / 's'}", "hydra.sweeper.n_trials=7")
    assert more.returncode == 0 and "6 of them done" in more.stdout and len(rows(tmp_path / "s")) == 7
    other = run("src.train", "-m", f"sweep.resume={tmp_path / 's'}", "model=lenet,cnn")
    assert other.returncode == 1 and "another search space" in other.stderr


def test_a_search_for_several_objectives_with_a_journal(tmp_path):
    pytest.importorskip("optuna")
    words = [
        "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=4",
        "hydra.sweeper.storage=journal",
        "model=lenet,mlp,convnet",
    ]
    done = sweep(tmp_path / "s", *words, "hydra.sweeper.objectives=[val/acc,latency_ms]", "test=false", "figures=true",
                 "hydra/launcher=joblib")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(float(row["latency_ms"]) > 0 for row in rows(tmp_path / "s"))
    assert (tmp_path / "s" / "study.journal").is_file()
    assert (tmp_path / "s" / "figures" / "pareto.png").is_file()


def test_two_ddp_processes_reach_the_accuracy_of_one(tmp_path):
    common = ["data=digits", "trainer.max_epochs=2", "trainer.accelerator=cpu", "figures=false", "optimizer.lr=1e-3"]
    two = run("src.train", "-m", "seed=0,1", *common, "data.batch_size=16", "trainer.devices=2", "trainer.strategy=ddp",
              f"hydra.sweep.dir={tmp_path / 'two'}")  # fmt: skip
    assert two.returncode == 0, two.stderr
    one = run("src.train", "-m", "seed=0,1", *common, "data.batch_size=32", f"hydra.sweep.dir={tmp_path / 'one'}")
    assert one.returncode == 0, one.stderr
    for ours, theirs in zip(*(sorted(rows(tmp_path / name), key=lambda row: row["run"]) for name in ("one", "two")),
                            strict=True):  # fmt: skip
        assert float(ours["val/acc"]) == pytest.approx(float(theirs["val/acc"]), abs=0.02)


def test_a_ddp_rank_that_dies_ends_the_run(tmp_path):
    words = ["data=digits", "trainer.max_epochs=500", "trainer.accelerator=cpu", "trainer.devices=2"]
    process = start("src.train", *words, "trainer.strategy=ddp", f"hydra.run.dir={tmp_path / 'r'}")
    end = time.monotonic() + 120
    while not (tmp_path / "r" / "checkpoints" / "last.ckpt").is_file():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    second = next(pid for pid in children if "process_1" in Path(f"/proc/{pid}/cmdline").read_text())
    os.kill(int(second), signal.SIGKILL)
    _, err = output_of(process, 60)
    assert process.returncode not in (0, None)
    assert "resume_from=" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optimizer.lrr=1,2"], "optimizer.lrr does not exist; did you mean lr?"),
        (["model=lenet,nonet"], "nonet"),
        (["optimizer.lr=interval(0,1)"], "give hydra/sweeper=optuna"),
        (["hydra/sweeper=optuna", "optimizer.lr=interval(1,0)"], "first end must be below"),
        (["hydra/sweeper=optuna", "optimizer.lrr=interval(0,1)"], "optimizer.lrr does not exist"),
        (["hydra/sweeper=optuna", "seed=0,1", "hydra.sweeper.objectives=[val/beauty]"], "no job reports val/beauty"),
        (["hydra/sweeper=optuna", "seed=0,1", "hydra.sweeper.storage=nowhere"], "sqlite, journal or a URL"),
        (["sweep.max_time=soon", "seed=0,1"], "sweep.max_time=soon"),
        (["sweep.resume=nowhere"], "there is no sweep"),
        (["seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs=0"),
        (["seed=0,1", "hydra/launcher=joblib", "trainer.strategy=ddp"], "give hydra/launcher=serial"),
    ],
)
def test_bad_input_is_one_line_before_the_first_job(tmp_path, words, message):
    done = run("src.train", "-m", "data=digits", f"hydra.sweep.dir={tmp_path / 's'}", *words)
    assert done.returncode == 1
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not list((tmp_path / "s").glob("*/status.json"))
