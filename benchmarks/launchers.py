"""The launchers of a sweep side by side: python -m benchmarks.launchers [--launchers serial slurm] [--jobs 24]

The same short runs on the bundled digits by each launcher, in turns, on this machine, one thread a job. Prints the
seconds that a job takes of a worker beside those it takes serially, and whether the tables are equal bit for bit.
slurm starts a cluster of two nodes of one CPU (tests/slurm_cluster.py), ray one of two CPUs.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUN = ["data=digits", "model=cnn", "trainer.max_epochs=2", "figures=false", "logger=csv", "threads=1"]
WORKERS = {"serial": 1, "joblib": 2, "slurm": 2, "ray": 2}
OPTIONS = {
    "joblib": ["hydra.launcher.n_jobs=2", "hydra.launcher.threads=1"],
    "slurm": ["hydra.launcher.cpus_per_task=1", "hydra.launcher.poll_s=1"],
}


def sweep(launcher: str, jobs: int, folder: Path, env: dict[str, str]) -> tuple[float, list[list[str]]]:
    """Seconds of a sweep of seeds, and its table without them."""
    words = [*RUN, f"seed=range({jobs})", f"hydra/launcher={launcher}", *OPTIONS.get(launcher, [])]
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "src.train", "-m", *words, f"hydra.sweep.dir={folder}"],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env={**env, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    seconds = time.perf_counter() - began
    with (folder / "runs.csv").open() as file:
        head, *rows = csv.reader(file)
    return seconds, sorted([text for name, text in zip(head, row, strict=True) if name != "seconds"] for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--launchers", nargs="+", choices=WORKERS, default=list(WORKERS))
    parser.add_argument("--jobs", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    from tests.slurm_cluster import cluster

    names = list(dict.fromkeys(["serial", *args.launchers]))
    taken: dict[str, list[float]] = {name: [] for name in names}
    tables = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with cluster(folder / "slurm") if "slurm" in names else nullcontext(dict(os.environ)) as env:
            for repeat in range(args.repeats):
                for name in names:
                    seconds, tables[name] = sweep(name, args.jobs, folder / f"{name}{repeat}", env)
                    taken[name].append(WORKERS[name] * seconds / args.jobs)
    print(f"{args.jobs} jobs, {args.repeats} repeats in turns: seconds of a worker per job, medians")
    serial = statistics.median(taken["serial"])
    for name in names:
        own = statistics.median(taken[name])
        same = "the table of serial" if tables[name] == tables["serial"] else "ANOTHER TABLE than serial"
        print(f"  {name:<8} {own:6.2f} s, {own - serial:+6.2f} over serial; {same}")


if __name__ == "__main__":
    main()
