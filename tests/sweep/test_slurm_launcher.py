"""hydra/launcher=slurm on a real SLURM: arrays, preemption, lost nodes, time limits, cancelled jobs, resumed sweeps."""

import os
import signal
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src.errors import InputError
from src.sweep.slurm_launcher import SlurmLauncher
from tests.slurm_cluster import cluster, slurm, why_not
from tests.sweep_commands import ROOT, metrics_of_runs, sweep

WORDS = [
    "data=digits",
    "model=cnn",
    "trainer.max_epochs=12",
    "figures=false",
    "logger=csv",
    "threads=1",
    "seed=0,1,2,3,4,5",
]
SLURM = ["hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.poll_s=1"]


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    if reason := why_not():
        pytest.skip(reason)
    with cluster(tmp_path_factory.mktemp("slurm")) as env:
        yield {**env, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def wait_for(condition, command, seconds=200):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert command.poll() is None, command.communicate()[0]
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.2)
    return found


def states(env) -> dict[str, tuple[str, str]]:
    """Task -> (state, node) of everything in the queue."""
    lines = slurm(env, "squeue", "-h", "-r", "-o", "%F_%K %T %N").splitlines()
    return {words[0]: (words[1], words[2] if len(words) > 2 else "") for words in map(str.split, lines)}


def trains(env, folder: Path, node: str = "") -> str:
    """A task that runs (on this node) and has saved its state since it began."""
    for task, (state, where) in states(env).items():
        run = folder / task.rpartition("_")[2]
        if state == "RUNNING" and where.startswith(node) and (run / "checkpoints/last.ckpt").is_file():
            return task
    return ""


def release(env, task: str, command) -> None:
    """A task that is queued again waits two minutes otherwise."""
    wait_for(lambda: states(env).get(task, ("", ""))[0] == "PENDING", command)
    slurm(env, "scontrol", "update", f"jobid={task}", "StartTime=now")


@pytest.mark.slow
def test_a_sweep_that_is_hurt_ends_like_one_that_is_not(env, tmp_path):
    """Preempted, a node lost, the command killed, a job cancelled: each row is that of a serial sweep, bit for bit."""
    folder = tmp_path / "slurm"
    command = sweep(env, *WORDS, *SLURM, f"hydra.sweep.dir={folder}")
    first = wait_for(lambda: trains(env, folder), command)
    slurm(env, "scontrol", "requeue", first)
    release(env, first, command)
    command.send_signal(signal.SIGKILL)
    command.communicate()
    resumed = sweep(env, f"sweep.resume={folder}", *SLURM)
    lost = wait_for(lambda: trains(env, folder, "n2"), resumed)
    slurm(env, "scontrol", "update", "nodename=n2", "state=down", "reason=test")
    slurm(env, "scontrol", "update", "nodename=n2", "state=resume")
    release(env, lost, resumed)
    cancelled = wait_for(lambda: trains(env, folder), resumed)
    slurm(env, "scancel", cancelled)
    output, _ = resumed.communicate(timeout=400)
    assert resumed.returncode == 1, output
    assert "of the jobs are in SLURM's queue already" in output
    number = cancelled.rpartition("_")[2]
    assert f"1 of 6 jobs did not end; the first, #{number}: SLURM: job {cancelled} is CANCELLED" in output
    assert "sweep.resume=" in output
    row = metrics_of_runs(folder)[number]
    assert row["state"] == "interrupted"
    assert "CANCELLED" in row["error"]
    last = sweep(env, f"sweep.resume={folder}", *SLURM)
    output, _ = last.communicate(timeout=400)
    assert last.returncode == 0, output
    logs = [path.stem.rpartition("_")[2] for path in (folder / ".slurm").glob("*.log")]
    assert sorted(logs) == sorted([*map(str, range(6)), number])  # nothing was submitted twice
    serial = sweep(env, *WORDS, "hydra/launcher=serial", f"hydra.sweep.dir={tmp_path / 'serial'}")
    output, _ = serial.communicate(timeout=400)
    assert serial.returncode == 0, output
    assert metrics_of_runs(folder) == metrics_of_runs(tmp_path / "serial")


@pytest.mark.slow
def test_a_job_that_needs_longer_than_its_limit_goes_on_in_another(env, tmp_path):
    folder = tmp_path / "limit"
    words = [word for word in WORDS if not word.startswith(("seed", "trainer"))]
    limit = [
        "hydra.launcher.timeout_min=2",
        "hydra.launcher.signal_delay_s=45",
        "trainer.max_epochs=200",
        "seed=range(3,4)",
    ]
    command = sweep(env, *words, *SLURM, *limit, f"hydra.sweep.dir={folder}")
    first = wait_for(
        lambda: [path for path in folder.glob(".slurm/*.log") if "queued again" in path.read_text()], command
    )
    task = first[0].stem
    while command.poll() is None:
        if states(env).get(task, ("", ""))[0] == "PENDING":
            slurm(env, "scontrol", "update", f"jobid={task}", "StartTime=now")
        time.sleep(1)
    output, _ = command.communicate()
    assert command.returncode == 0, output
    alone = tmp_path / "alone"
    done = sweep(env, *words, "trainer.max_epochs=200", "seed=range(3,4)", f"hydra.sweep.dir={alone}")
    output, _ = done.communicate(timeout=400)
    assert done.returncode == 0, output
    assert metrics_of_runs(folder) == metrics_of_runs(alone)


@pytest.mark.slow
def test_what_slurm_refuses_is_one_line(env, tmp_path):
    refused = sweep(env, *WORDS, *SLURM, "hydra.launcher.partition=nowhere", f"hydra.sweep.dir={tmp_path / 'x'}")
    output, _ = refused.communicate(timeout=200)
    assert refused.returncode == 1
    assert output.splitlines()[-1].startswith("error: hydra/launcher=slurm: ")
    assert "invalid partition specified: nowhere" in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout_min": 0}, r"hydra\.launcher\.timeout_min=0"),
        ({"signal_delay_s": 3600}, r"hydra\.launcher\.signal_delay_s=3600"),
        ({"cpus_per_task": "many"}, r"hydra\.launcher\.cpus_per_task=many"),
        ({"array_parallelism": -1}, r"hydra\.launcher\.array_parallelism=-1"),
        ({"poll_s": 0}, r"hydra\.launcher\.poll_s=0"),
        ({"mem_gb": 0}, r"hydra\.launcher\.mem_gb=0"),
        ({"requeue": "yes"}, r"hydra\.launcher\.requeue=yes"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        SlurmLauncher(**options)


def test_without_slurm_it_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}, "trainer": {"strategy": "auto"}})
    with pytest.raises(InputError, match=r"there is no scontrol here: type it where SLURM is"):
        SlurmLauncher().setup(hydra_context=None, task_function=None, config=config)
    config.trainer.strategy = "ddp"
    with pytest.raises(InputError, match=r"trainer\.strategy=ddp starts its own processes"):
        SlurmLauncher().setup(hydra_context=None, task_function=None, config=config)
    assert os.environ["PATH"] == str(tmp_path)
