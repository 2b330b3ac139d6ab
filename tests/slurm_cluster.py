"""A whole SLURM cluster on this machine: a controller and two nodes of one CPU, on loopback; needs root."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PORTS = {"controller": 16817, "n1": 16821, "n2": 16822}
CONFIG = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[controller]}
AuthType=auth/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool_%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=20
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[n1]} CPUs=1 RealMemory=2000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[n2]} CPUs=1 RealMemory=2000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Why no cluster can be started here; empty if it can."""
    missing = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not found: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "SLURM's nodes are started as root"


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start it with its files in `folder`, and stop it; yields the environment of commands that use it."""
    for name in ("state", "spool_n1", "spool_n2"):
        (folder / name).mkdir(parents=True)
    config = folder / "slurm.conf"
    config.write_text(CONFIG.format(host=socket.gethostname().partition(".")[0], folder=folder, ports=PORTS))
    env = {**os.environ, "SLURM_CONF": str(config)}
    munge = None
    if subprocess.run(["munge", "-n"], capture_output=True).returncode:
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge", "munge")
        munge = subprocess.Popen(["su", "munge", "-s", "/bin/sh", "-c", "exec munged --foreground"])
    daemons = [
        subprocess.Popen(["slurmctld", "-D", "-c"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ]
    try:
        time.sleep(1)
        daemons += [start_node(name, env) for name in ("n1", "n2")]
        end = time.monotonic() + 30
        while slurm(env, "sinfo", "-h", "-o", "%A").strip() != "0/2":
            assert time.monotonic() < end, (folder / "controller.log").read_text()[-2000:]
            time.sleep(0.5)
        yield env
    finally:
        subprocess.run(["scancel", "--me"], env=env)
        time.sleep(2)
        for daemon in [*daemons[::-1], *([munge] if munge else [])]:
            daemon.terminate()
            daemon.wait(timeout=30)


def start_node(name: str, env: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(["slurmd", "-D", "-N", name], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def slurm(env: dict[str, str], *words: str) -> str:
    """What one of SLURM's commands prints; empty while the controller starts."""
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=60).stdout
