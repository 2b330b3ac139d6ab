"""What pruning saves: python -m benchmarks.prune [--root data] [--seeds 5] [--trials 40]

The search hparams_search=lenet without its pruner, and with it, for several seeds of the sampler; two searches at a
time, one thread each. The pruned search has more trials, of which those count that were begun before half of the
other's epochs were spent: how good is its best then? Validation chooses, nothing is tested.
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


def within(made: list[tuple[int, float]], budget: float) -> list[tuple[int, float]]:
    """The trials, in order, that were over before so many epochs were spent."""
    spent, kept = 0, []
    for epochs, score in made:
        spent += epochs
        if spent > budget:
            break
        kept.append((epochs, score))
    return kept


def main() -> None:
    """Print a row per seed, and the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--more", type=float, default=1.6, help="times as many trials in the pruned search")
    parser.add_argument("--pruner", default="halving")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        counts = {"none": args.trials, args.pruner: round(args.more * args.trials)}
        cases = [(pruner, seed) for seed in range(args.seeds) for pruner in counts]
        runs = pool.map(lambda case: search(Path(folder), *case, args.root, counts[case[0]]), cases)
        made = dict(zip(cases, runs, strict=True))
    print("seed   unpruned: trials, epochs, best   pruned: trials, epochs, best within half the epochs   all of it")
    differences, ratios = [], []
    for seed in range(args.seeds):
        whole, cut = made["none", seed], made[args.pruner, seed]
        spent = sum(epochs for epochs, _ in whole)
        half = within(cut, spent / 2)
        best, ours, all_of_it = (max(score for _, score in some) for some in (whole, half, cut))
        used, total = (sum(epochs for epochs, _ in some) for some in (half, cut))
        differences.append(100 * (ours - best))
        ratios.append(used / spent)
        print(
            f"{seed:<6} {len(whole):<4} {spent:<6} {100 * best:.2f} %{'':<12} {len(half):<4} {used:<6} "
            f"{100 * ours:.2f} %{'':<24} {len(cut)} trials, {total} epochs, {100 * all_of_it:.2f} %"
        )
    spread = statistics.stdev(differences) if len(differences) > 1 else 0.0
    print(
        f"epochs {statistics.fmean(ratios):.2f} of the unpruned search; best {statistics.fmean(differences):+.2f} ± "
        f"{spread:.2f} points"
    )


if __name__ == "__main__":
    main()
