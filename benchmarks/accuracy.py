"""Test accuracy of the experiments over seeds: python -m benchmarks.accuracy [--root data] [--only lenet ...]

Every run is `python -m src.train experiment=... seed=...`: the epoch is chosen on the validation split, the test split
is read once, at the end of each run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from src.cli.config import ROOT

EXPERIMENTS = ("mlp", "convnet", "cnn", "lenet", "fast")


def run(experiment: str, seed: int, root: str, threads: int) -> dict:
    """The results.json of one run in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        words = [f"experiment={experiment}", f"seed={seed}", f"data.root={root}", f"threads={threads}", "figures=false"]
        command = [sys.executable, "-m", "src.train", *words, f"hydra.run.dir={folder}"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return json.loads((Path(folder) / "results.json").read_text())


def main() -> None:
    """Print a row per experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data", help="folder with MNIST/raw")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at once, sharing the cores")
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=EXPERIMENTS, help="leave out the others")
    args = parser.parse_args()
    root, threads = str(Path(args.root).resolve()), max(1, (os.cpu_count() or 1) // args.jobs)
    print(f"{'experiment':<12} {'test accuracy':>22} {'validation':>12} {'epochs':>7} {'seconds':>8}   per seed")
    with ThreadPoolExecutor(args.jobs) as pool:
        for experiment in args.only:
            results = list(pool.map(lambda seed, e=experiment: run(e, seed, root, threads), range(args.seeds)))
            test = [100 * result["test"]["acc"] for result in results]
            val = statistics.mean(100 * result["best_score"] for result in results)
            seconds = statistics.median(result["seconds"] for result in results)
            mean, sd = statistics.mean(test), statistics.stdev(test) if len(test) > 1 else float("nan")
            each, epochs = " ".join(f"{value:.2f}" for value in test), results[0]["epochs"]
            print(
                f"{experiment:<12} {mean:>12.3f} ± {sd:.3f} % {val:>10.2f} % {epochs:>7} {seconds:>8.0f}   {each}",
                flush=True,
            )


if __name__ == "__main__":
    main()
