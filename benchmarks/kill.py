"""A sweep killed at random moments and resumed: python -m benchmarks.kill [--kills 10]

Twelve jobs on the bundled digits, once uninterrupted, once with SIGKILLs: every validation and test metric of every job
must be bit-equal. Also for a search, whose next trial depends on the results so far.
"""

import argparse
import csv
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from src.cli.config import ROOT

QUICK = ["data=digits", "trainer.max_epochs=3", "figures=false", "threads=1", "trainer.accelerator=cpu"]
KINDS = {
    "grid": ["model=lenet,mlp", "optimizer.lr=1e-3,3e-3", "seed=0,1,2"],
    "joblib": ["hydra/launcher=joblib", "model=lenet,mlp", "optimizer.lr=1e-3,3e-3", "seed=0,1,2"],
    "optuna": [
        "hydra/sweeper=optuna", "hydra.sweeper.n_trials=12", "hydra.sweeper.startup=4", "hydra.sweeper.pruner=median",
        "model=lenet,mlp", "optimizer.lr=tag(log, interval(1e-4, 3e-2))",
    ],
}  # fmt: skip
CLOCK_COLUMNS = ("seconds", "error")


def start(*overrides: str) -> subprocess.Popen:
    """Start a sweep in a session of its own, its output discarded."""
    return subprocess.Popen(
        [sys.executable, "-m", "src.train", "-m", *overrides],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> None:
    """Wait for a process. Raises RuntimeError with the end of its errors if it fails."""
    _, errors = process.communicate(timeout=900)
    if process.returncode:
        raise RuntimeError(f"status {process.returncode}: {errors[-800:]}")


def read_table(folder: Path) -> list[dict[str, str]]:
    """The rows of runs.csv by run, without CLOCK_COLUMNS."""
    with (folder / "runs.csv").open(newline="") as file:
        rows = [{key: value for key, value in row.items() if key not in CLOCK_COLUMNS} for row in csv.DictReader(file)]
    return sorted(rows, key=lambda row: int(row["run"]))


def is_since(path: Path, moment: float) -> bool:
    """Whether a file was written since a moment; one that is just being replaced counts."""
    try:
        return path.stat().st_mtime >= moment
    except FileNotFoundError:
        return True


def measure(folder: Path, kind: str, kills: int, seed: int) -> tuple[bool, list[str]]:
    """Whether the tables are equal, and each kill: seconds after the first job starts, jobs finished by then."""
    overrides = [*QUICK, *KINDS[kind]]
    whole, cut = folder / f"{kind}_whole", folder / f"{kind}_cut"
    finish(start(*overrides, f"hydra.sweep.dir={whole}"))
    stamps = sorted(path.stat().st_mtime for path in whole.glob("*/status.json"))
    work = (stamps[-1] - stamps[0]) * 12 / 11
    rng, moments = random.Random(seed), []
    command = [*overrides, f"hydra.sweep.dir={cut}"]
    for _ in range(kills):
        start_time = time.time()
        process = start(*command)
        # Some kills hit the set-up of the first job, most come after its first checkpoint.
        pattern = "*/status.json" if rng.random() < 0.3 else "*/checkpoints/*.ckpt"
        while process.poll() is None and not any(is_since(path, start_time) for path in cut.glob(pattern)):
            time.sleep(0.01)
        wait = rng.random() * 2 * work / kills
        time.sleep(wait)
        ended = process.poll() is not None
        process.send_signal(signal.SIGKILL)  # the command alone: its workers must notice and exit
        process.communicate()
        finished = sum('"finished"' in path.read_text() for path in cut.glob("*/status.json"))
        moments.append(f"{wait:.2f} s, {finished} finished" + (" (too late)" if ended else ""))
        if (cut / "sweep.json").is_file():
            command = [f"sweep.resume={cut}"]
    finish(start(*command))
    return read_table(whole) == read_table(cut), moments


def main() -> None:
    """Print a line per kind of sweep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    equal = True
    with tempfile.TemporaryDirectory() as folder:
        for kind in args.kinds:
            same, moments = measure(Path(folder), kind, args.kills, args.seed)
            equal &= same
            print(f"{kind}: {args.kills} kills, 12 jobs, tables {'equal' if same else 'DIFFER'}", flush=True)
            print("  " + "; ".join(moments), flush=True)
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
