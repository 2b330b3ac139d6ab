"""What a sweep costs beside its training: python -m benchmarks.scale [--jobs 10000]

One digit-sized run is trained; then whole sweeps of src.train are played with its recorded files in place of training:
a grid of `--jobs` jobs and of a quarter of them, sweep.resume of the finished sweep, and src.compare over its folders.
Prints seconds and the largest memory of each command, in all and per job, and the files that a job leaves.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUN = ["data=digits", "trainer.max_epochs=2", "figures=false", "logger=csv"]


def measure(*words: str) -> tuple[float, float]:
    """Seconds and GB of a command, which has to succeed."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "benchmarks" / "plugins"), str(ROOT)])}
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", *words], env=env, stdout=subprocess.PIPE, text=True)
    with process:
        tail = process.stdout.read()[-2000:]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{tail}")
    return time.perf_counter() - began, usage.ru_maxrss * 1024 / 1e9


def grid(jobs: int) -> list[str]:
    """Two swept keys with `jobs` combinations: 10 seeds of jobs / 10 rates."""
    rates = ",".join(f"{1e-4 * (1 + row):.4f}" for row in range(jobs // 10))
    return [f"optimizer.lr={rates}", "seed=range(10)"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000, help="a multiple of 40")
    jobs = parser.parse_args().jobs
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        measure("src.train", *RUN, f"hydra.run.dir={folder / 'run'}")
        left = sum(path.is_file() for path in (folder / "run").rglob("*"))
        print(f"one run: {left} files with figures=false logger=csv")
        launcher = ["hydra.launcher._target_=hydra_plugins.recorded.RecordedLauncher"]
        launcher += [f"+hydra.launcher.recorded={folder / 'run'}", *RUN]
        for count in (jobs // 4, jobs):
            sweep = folder / f"sweep{count}"
            report(
                f"sweep of {count:,}",
                count,
                measure("src.train", "-m", *launcher, *grid(count), f"hydra.sweep.dir={sweep}"),
            )
            report("  sweep.resume, nothing left", count, measure("src.train", "-m", f"sweep.resume={sweep}"))
            report(
                "  src.compare", count, measure("src.compare", str(sweep), "figures=false", f"hydra.run.dir={folder}/c")
            )
            print(f"  table.md: {(sweep / 'table.md').stat().st_size / 1e3:,.0f} kB", flush=True)


def report(what: str, count: int, measured: tuple[float, float]) -> None:
    seconds, gigabytes = measured
    print(f"{what:<32} {seconds:7.1f} s  {1e3 * seconds / count:7.2f} ms a job  {gigabytes:5.2f} GB", flush=True)


if __name__ == "__main__":
    main()
