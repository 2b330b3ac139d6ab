"""hydra/launcher=ray on Ray's own test cluster of two nodes: a lost node, a killed worker, a killed command."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from src.data.cache import cache_enabled, cached, share
from src.data.source import Split
from src.errors import InputError
from src.sweep.ray_launcher import NodeStore, RayLauncher, Registry, _from_arrays, _to_arrays
from tests.sweep_commands import ROOT, metrics_of_runs, state_of, sweep

ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
WORDS = [
    "data=digits",
    "model=cnn",
    "trainer.max_epochs=12",
    "figures=false",
    "logger=csv",
    "threads=1",
    "seed=0,1,2,3,4",
]


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray", reason="the ray extra is not installed")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def training(folder: Path, command, count: int) -> list[int]:
    """Jobs that run and have saved their state, once there are `count` of them."""
    end = time.monotonic() + 240
    while True:
        found = [
            job
            for job in range(5)
            if state_of(folder, job).get("state") == "running" and (folder / f"{job}/checkpoints/last.ckpt").is_file()
        ]
        if len(found) >= count:
            return found
        assert command.poll() is None, command.communicate()[0]
        assert time.monotonic() < end, "no job trains"
        time.sleep(0.1)


@pytest.mark.slow
def test_jobs_of_a_lost_node_a_killed_worker_and_a_killed_command_go_on(cluster, tmp_path):
    folder = tmp_path / "ray"
    where = ["hydra/launcher=ray", f"hydra.launcher.address={cluster.address}"]
    node = cluster.add_node(num_cpus=1)
    command = sweep(ENV, *WORDS, *where, f"hydra.sweep.dir={folder}")
    training(folder, command, 2)
    cluster.remove_node(node, allow_graceful=False)
    cluster.add_node(num_cpus=1)
    killed = training(folder, command, 1)[0]
    os.kill(state_of(folder, killed)["pid"], signal.SIGKILL)
    time.sleep(5)
    training(folder, command, 1)
    command.kill()
    command.communicate()
    resumed = sweep(ENV, f"sweep.resume={folder}", *where)
    output, _ = resumed.communicate(timeout=500)
    assert resumed.returncode == 0, output
    serial = sweep(ENV, *WORDS, "hydra/launcher=serial", f"hydra.sweep.dir={tmp_path / 'serial'}")
    output, _ = serial.communicate(timeout=500)
    assert serial.returncode == 0, output
    assert metrics_of_runs(folder) == metrics_of_runs(tmp_path / "serial")


@pytest.mark.slow
def test_run_folders_are_brought_back_from_nodes_that_do_not_mount_them(cluster, tmp_path):
    words = [
        *WORDS[:-1],
        "trainer.max_epochs=2",
        "seed=0,1",
        "hydra/launcher=ray",
        f"hydra.launcher.address={cluster.address}",
    ]
    command = sweep(ENV, *words, "hydra.launcher.bring_back=true", f"hydra.sweep.dir={tmp_path / 'x'}")
    output, _ = command.communicate(timeout=300)
    assert command.returncode == 0, output
    for job in ("0", "1"):
        assert (tmp_path / "x" / job / "checkpoints/best.ckpt").is_file()
        assert metrics_of_runs(tmp_path / "x")[job]["state"] == "finished"


@pytest.mark.slow
def test_a_job_that_no_node_has_room_for_is_refused(cluster, tmp_path):
    words = [
        *WORDS,
        "hydra/launcher=ray",
        f"hydra.launcher.address={cluster.address}",
        f"hydra.sweep.dir={tmp_path / 'x'}",
    ]
    command = sweep(ENV, *words, "hydra.launcher.cpus=64")
    output, _ = command.communicate(timeout=200)
    assert command.returncode == 1
    assert "error: hydra.launcher.cpus=64, gpus=0, memory_gb=None: no node of" in output.splitlines()[-1]


@pytest.mark.slow
def test_an_address_without_a_cluster_is_one_line(tmp_path):
    pytest.importorskip("ray", reason="the ray extra is not installed")
    command = sweep(
        ENV, *WORDS, "hydra/launcher=ray", "hydra.launcher.address=127.0.0.1:1", f"hydra.sweep.dir={tmp_path / 'x'}"
    )
    output, _ = command.communicate(timeout=300)
    assert command.returncode == 1
    assert "error: hydra.launcher.address=127.0.0.1:1: no Ray cluster answers" in output.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cpus": 0}, r"hydra\.launcher\.cpus=0"),
        ({"gpus": -1}, r"hydra\.launcher\.gpus=-1"),
        ({"memory_gb": "much"}, r"hydra\.launcher\.memory_gb=much"),
        ({"retries": -1}, r"hydra\.launcher\.retries=-1"),
        ({"bring_back": 1}, r"hydra\.launcher\.bring_back=1"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        RayLauncher(**options)


def test_a_strategy_of_several_processes_is_refused(tmp_path):
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}, "trainer": {"strategy": "ddp"}})
    with pytest.raises(InputError, match=r"trainer\.strategy=ddp starts its own processes"):
        RayLauncher().setup(hydra_context=None, task_function=None, config=config)


def test_a_split_in_the_store_is_the_split():
    images = torch.randint(256, (5, 1, 4, 4), dtype=torch.uint8)
    split = Split(images, torch.arange(5), files=tuple("abcde"), digests=torch.arange(5) * 7)
    parts = _to_arrays(split)
    parts["images"] = parts["images"].copy()
    parts["images"].flags.writeable = False  # as Ray's store gives it
    again = _from_arrays(parts)
    for name, value in vars(split).items():
        found = getattr(again, name)
        assert torch.equal(found, value) if isinstance(value, torch.Tensor) else found == value


def test_one_job_reads_what_the_others_find_in_the_store():
    class Store(dict):
        def put(self, key, split):
            self[key] = split

    store, reads = Store(), []
    split = Split(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.arange(2))
    share(store)
    try:
        with cache_enabled():
            for _ in range(2):
                from src.data import cache

                cache._entries.pop(("shared", "train"), None)  # as in another process
                found = cached("shared", "train", lambda: reads.append(1) or split)
                assert found is split
    finally:
        share(None)
    assert reads == [1]


def test_the_registry_lets_one_reader_begin():
    registry = Registry()
    assert [registry.may_read(("a", "train")) for _ in range(3)] == [True, False, False]
    assert registry.find(("a", "train")) == []
    registry.add(("a", "train"), ["reference"])
    assert registry.find(("a", "train")) == ["reference"]
    assert NodeStore(registry).registry is registry
