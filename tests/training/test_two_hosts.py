"""One run on two hosts: torchrun in two network namespaces that a veth pair connects."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORDS = [
    "data=digits", "model=lenet", "model.dropout=0", "augment=none", "figures=false", "logger=csv", "seed=1",
    "threads=1", "trainer.precision=64-true", "trainer.accelerator=cpu", "task.mixup=0", "task.cutmix=0",
    "trainer.limit_train_batches=38",  # whole ones: a last one of five images is not two of 16
]  # fmt: skip
TWO = ["trainer.num_nodes=2", "trainer.devices=1", "trainer.strategy=ddp", "data.batch_size=16"]
HOSTS = ("sweephost1", "sweephost2")


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def network():
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    try:
        for host in HOSTS:
            ip("netns", "add", host)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    try:
        ip("link", "add", "veth1", "netns", HOSTS[0], "type", "veth", "peer", "name", "veth2", "netns", HOSTS[1])
        for number, host in enumerate(HOSTS, 1):
            ip("-n", host, "addr", "add", f"10.77.0.{number}/24", "dev", f"veth{number}")
            ip("-n", host, "link", "set", f"veth{number}", "up")
            ip("-n", host, "link", "set", "lo", "up")
        yield
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "netns", "del", host], capture_output=True)


def start(folder: Path, *words) -> list[subprocess.Popen]:
    """The two commands that people type, one on each host; their terminals are host1.log and host2.log."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    hosts = []
    folder.mkdir(parents=True, exist_ok=True)
    for number, host in enumerate(HOSTS):
        env = {**os.environ, "GLOO_SOCKET_IFNAME": f"veth{number + 1}", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        where = [f"--node-rank={number}", "--master-addr=10.77.0.1", "--master-port=29500"]
        where += [f"--local-addr=10.77.0.{number + 1}"]
        command = ["ip", "netns", "exec", host, *torchrun, *where, "-m", "src.train", *words]
        with (folder / f"host{number + 1}.log").open("w") as log:
            hosts.append(subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True))
    return hosts


def finish(hosts, folder, seconds=300) -> list[int]:
    try:
        return [host.wait(timeout=seconds) for host in hosts]
    except subprocess.TimeoutExpired:
        for host in hosts:
            os.killpg(host.pid, signal.SIGKILL)
            host.wait()
        raise AssertionError("\n".join(path.read_text()[-3000:] for path in folder.glob("host*.log"))) from None


def metrics(run: Path) -> list[dict[str, float]]:
    with (run / "metrics.csv").open() as file:
        return [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]


def alone(folder: Path, *words) -> Path:
    command = [sys.executable, "-m", "src.train", *WORDS, "data.batch_size=32", *words, f"hydra.run.dir={folder}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def assert_close(two: Path, one: Path) -> None:
    rows = list(zip(metrics(two), metrics(one), strict=True))
    for found, wanted in rows:
        for name in ("train/loss", "val/loss", "val/acc"):
            assert abs(found[name] - wanted[name]) < 1e-6, (name, found, wanted)
    assert rows
    found, wanted = (json.loads((run / "results.json").read_text())["test"] for run in (two, one))
    assert abs(found["acc"] - wanted["acc"]) < 1e-6
    assert abs(found["loss"] - wanted["loss"]) < 1e-6


@pytest.mark.slow
def test_two_hosts_write_one_folder_with_the_metrics_of_one_process(network, tmp_path):
    words = ["trainer.max_epochs=2"]
    assert finish(start(tmp_path, *WORDS, *TWO, *words), tmp_path) == [0, 0], (tmp_path / "host1.log").read_text()
    (run,) = (tmp_path / "outputs").iterdir()
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    assert (run / "train_ddp_process_1.log").is_file()
    assert_close(run, alone(tmp_path / "one", *words))


@pytest.mark.slow
def test_a_dead_host_ends_the_other_within_a_minute_and_the_run_is_resumed(network, tmp_path):
    words = ["trainer.max_epochs=8"]
    hosts = start(tmp_path, *WORDS, *TWO, *words)
    end = time.monotonic() + 200
    while not (found := list(tmp_path.glob("outputs/*/checkpoints/last.ckpt"))):
        assert hosts[0].poll() is None, (tmp_path / "host1.log").read_text()
        assert time.monotonic() < end
        time.sleep(0.1)
    ip("-n", HOSTS[1], "link", "set", "veth2", "down")  # no process of it says good-bye
    pids = subprocess.run(["ip", "netns", "pids", HOSTS[1]], check=True, capture_output=True, text=True).stdout
    for pid in map(int, pids.split()):
        os.kill(pid, signal.SIGKILL)
    hosts[1].wait()
    died = time.monotonic()
    assert hosts[0].wait(timeout=120) != 0
    assert time.monotonic() - died < 60
    run = found[0].parents[1]
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "failed"
    assert "another of the 2 processes died" in status["error"]
    assert "resume_from" in status["error"]
    ip("-n", HOSTS[1], "link", "set", "veth2", "up")
    again = start(tmp_path, f"resume_from={run}")
    assert finish(again, tmp_path) == [0, 0], (tmp_path / "host1.log").read_text()
    assert_close(run, alone(tmp_path / "one", *words))
