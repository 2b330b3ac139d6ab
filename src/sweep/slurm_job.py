"""One job of a sweep as a task of a SLURM array: python -m src.sweep.slurm_job <payload> <number>"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from src.errors import require
from src.sweep.ledger import Ledger


def write_payload(file: Path, *parts: object) -> None:
    """The name of the command, Hydra's context, the task function and the sweep's config, for the tasks."""
    import cloudpickle

    temporary = file.with_suffix(".new")
    temporary.write_bytes(cloudpickle.dumps(parts))
    temporary.replace(file)


def main(payload: str, number: int) -> int:
    """Run the job; the exit status. Before its time limit, and with a newer checkpoint, it asks to be queued again."""
    import cloudpickle

    from src.sweep.job import run_in_worker

    os.environ.pop("SLURM_NTASKS", None)  # this process is the whole job: Lightning is not to look for others
    out_of_time = []

    def end(signum: int, frame: object) -> None:
        out_of_time.append(signum)
        os.kill(os.getpid(), signal.SIGTERM)  # training saves its state

    signal.signal(signal.SIGUSR1, end)
    began = time.time()
    file = Path(payload)
    ledger = Ledger.read(file.parent.parent)
    require(ledger is not None and number < len(ledger.jobs), f"{file.parent.parent} has no job {number}")
    name, context, task, config = cloudpickle.loads(file.read_bytes())
    result = run_in_worker(name, context, task, config, ledger.jobs[number], number)
    last = Path(config.hydra.sweep.dir) / str(number) / "checkpoints" / "last.ckpt"
    if out_of_time and last.is_file() and last.stat().st_mtime >= began:
        task_name = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
        print(f"the time limit is near: {task_name} is queued again and resumes from {last}", flush=True)
        subprocess.run(["scontrol", "requeue", task_name], check=True)
    return 0 if result.status.name == "COMPLETED" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
