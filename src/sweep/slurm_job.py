"""One job of a sweep as a task of a SLURM array: python -m src.sweep.slurm_job <payload> <number>"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from src.errors import require
from src.files import write_json
from src.sweep.ledger import Ledger

MOST_IDLE = 3  # attempts in a row that save nothing


def write_payload(file: Path, *parts: object) -> None:
    """The name of the command, Hydra's context, the task function and the sweep's config, for the tasks."""
    import cloudpickle

    temporary = file.with_suffix(".new")
    temporary.write_bytes(cloudpickle.dumps(parts))
    temporary.replace(file)


def main(payload: str, number: int) -> int:
    """Run the job; the exit status. Near its time limit it is queued again, unless that has helped nothing so far."""
    import cloudpickle

    from src.sweep.job import run_in_worker

    os.environ.pop("SLURM_NTASKS", None)  # this process is the whole job: Lightning is not to look for others
    out_of_time = []

    def end(signum: int, frame: object) -> None:
        out_of_time.append(signum)
        os.kill(os.getpid(), signal.SIGTERM)  # training saves its state

    signal.signal(signal.SIGUSR1, end)
    began, file = time.time(), Path(payload)
    ledger = Ledger.read(file.parent.parent)
    require(ledger is not None and number < len(ledger.jobs), f"{file.parent.parent} has no job {number}")
    name, context, task, config = cloudpickle.loads(file.read_bytes())
    result = run_in_worker(name, context, task, config, ledger.jobs[number], number)
    if out_of_time:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # that of the requeue: all is saved
        _queue_again(file.parent / f"{number}.idle", Path(config.hydra.sweep.dir) / str(number), began)
    return 0 if result.status.name == "COMPLETED" else 1


def _queue_again(idle: Path, folder: Path, began: float) -> None:
    """Queue this task again. idle: counts how often it has saved nothing between its start, `began`, and its limit."""
    last = folder / "checkpoints" / "last.ckpt"
    if last.is_file() and last.stat().st_mtime >= began:
        idle.unlink(missing_ok=True)
    else:
        count = int(idle.read_text()) + 1 if idle.is_file() else 1
        idle.write_text(str(count))
        if count >= MOST_IDLE:
            error = f"its time limit came {count} times before it had saved anything: raise hydra.launcher.timeout_min"
            folder.mkdir(exist_ok=True)
            write_json(folder / "status.json", {"state": "interrupted", "command": "train", "error": error})
            idle.unlink()
            return
    name = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    print(f"the time limit is near: {name} is queued again", flush=True)
    subprocess.run(["scontrol", "requeue", name], check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
