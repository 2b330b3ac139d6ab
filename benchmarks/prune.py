"""What pruning saves: python -m benchmarks.prune [--root data] [--seeds 5] [--trials 40]

The search hparams_search=lenet with and without its pruner, for several seeds of the sampler; two searches at a time,
one thread each. An epoch is an epoch of one trial; validation chooses, nothing is tested.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from src.run import ROOT


def search(folder: Path, pruner: str, seed: int, root: str, trials: int) -> list[tuple[int, float]]:
    """A whole search: of each trial its epochs, and its validation accuracy, 0 where it was pruned."""
    place = folder / f"{pruner}_{seed}"
    words = [f"hydra.sweeper.pruner={pruner}", f"hydra.sweeper.seed={seed}", f"hydra.sweeper.n_trials={trials}"]
    subprocess.run(
        [
            sys.executable, "-m", "src.train", "-m", "hparams_search=lenet", f"data.root={root}", "threads=1",
            "trainer.accelerator=cpu", "trainer.enable_progress_bar=false", f"hydra.sweep.dir={place}", *words,
        ],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    made = []
    for number in range(trials):
        with (place / str(number) / "metrics.csv").open(newline="") as file:
            epochs = len(list(csv.DictReader(file)))
        results = json.loads((place / str(number) / "results.json").read_text())
        made.append((epochs, 0.0 if results.get("pruned") else results["best_score"]))
    return made


def reached(made: list[tuple[int, float]], level: float) -> int | None:
    """Epochs until a trial was as good as `level`; None if none was."""
    spent = 0
    for epochs, score in made:
        spent += epochs
        if score >= level:
            return spent
    return None


def main() -> None:
    """Print a row per seed, and the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--pruner", default="median")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        cases = [(pruner, seed) for seed in range(args.seeds) for pruner in ("none", args.pruner)]
        runs = pool.map(lambda case: search(Path(folder), *case, args.root, args.trials), cases)
        made = dict(zip(cases, runs, strict=True))
    print("seed   best, unpruned   best, pruned   epochs, unpruned   epochs, pruned   ratio   to the unpruned best")
    rows = []
    for seed in range(args.seeds):
        whole, cut = made["none", seed], made[args.pruner, seed]
        best, ours = (max(score for _, score in some) for some in (whole, cut))
        spent, saved = (sum(epochs for epochs, _ in some) for some in (whole, cut))
        when = reached(cut, best)
        rows.append((best, ours, saved / spent))
        print(
            f"{seed:<6} {100 * best:<16.2f} {100 * ours:<14.2f} {spent:<18} {saved:<16} {saved / spent:<7.2f} "
            f"{'not reached' if when is None else f'{when} epochs'}"
        )
    best, ours, ratio = (statistics.fmean(column) for column in zip(*rows, strict=True))
    differences = [ours - best for best, ours, _ in rows]
    spread = statistics.stdev(differences) if len(rows) > 1 else 0.0
    print(
        f"mean   {100 * best:<16.2f} {100 * ours:<14.2f} {'':<35} {ratio:<7.2f} "
        f"difference {100 * (ours - best):+.2f} ± {100 * spread:.2f} points"
    )


if __name__ == "__main__":
    main()
