"""What pruning saves: python -m benchmarks.prune [--root data] [--seeds 5] [--trials 40]

Run the search hparams_search=lenet without a pruner for several seeds of the sampler, two at a time with one thread
each. Replay its trials to each pruner epoch by epoch, in the order in which they ran: which it would have stopped, and
how good the best of the others is. A pruned trial equals the unpruned one bit by bit up to its end, so the replay is
exact but for one thing: how the sampler reacts to trials that end early, which differs by chance. Only validation
metrics are used.
"""

import argparse
import csv
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from src.cli.config import ROOT
from src.sweep.optuna_sweeper import PRUNERS
from src.sweep.study import STUDY, make_pruner


def search(folder: Path, seed: int, root: str, trials: int) -> list[list[float]]:
    """Run a search; each trial's validation accuracy by epoch."""
    target = folder / str(seed)
    overrides = ["hydra.sweeper.pruner=none", f"hydra.sweeper.seed={seed}", f"hydra.sweeper.n_trials={trials}"]
    subprocess.run(
        [
            sys.executable, "-m", "src.train", "-m", "hparams_search=lenet", f"data.root={root}", "threads=1",
            "trainer.accelerator=cpu", "trainer.enable_progress_bar=false", f"hydra.sweep.dir={target}", *overrides,
        ],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return read_curves(target, trials)


def read_curves(folder: Path, trials: int) -> list[list[float]]:
    """The validation accuracy by epoch of each trial of a finished search."""
    curves = []
    for number in range(trials):
        with (folder / str(number) / "metrics.csv").open(newline="") as file:
            curves.append([float(row["val/acc"]) for row in csv.DictReader(file)])
    return curves


def replay(curves: list[list[float]], pruner: str, warmup: int) -> tuple[int, float]:
    """The epochs that these trials take with a pruner, and the best accuracy of those that finish."""
    import optuna

    study = optuna.create_study(  # hyperband hashes the study's name
        study_name=STUDY, direction="maximize", pruner=make_pruner(pruner, warmup=warmup)
    )
    spent, best = 0, 0.0
    for curve in curves:
        trial, state = study.ask(), optuna.trial.TrialState.COMPLETE
        for epoch, value in enumerate(curve, 1):
            trial.report(value, epoch)
            spent += 1
            if trial.should_prune():
                state = optuna.trial.TrialState.PRUNED
                break
        finished = state == optuna.trial.TrialState.COMPLETE
        study.tell(trial, max(curve) if finished else None, state=state)
        best = max(best, max(curve)) if finished else best
    return spent, best


def report(searches: list[list[list[float]]], warmups: list[int]) -> None:
    """Print a row per pruner: its share of the unpruned epochs, and the points of accuracy it loses."""
    unpruned = [(sum(map(len, curves)), max(map(max, curves))) for curves in searches]
    print("unpruned: " + ", ".join(f"{epochs} epochs, best {100 * best:.2f} %" for epochs, best in unpruned))
    print(f"{'pruner':<12} {'warmup':>6} {'epochs':>8}   best, points   per seed: epochs, points")
    for pruner in PRUNERS[1:]:
        for warmup in warmups:
            rows = []
            for curves, (epochs, best) in zip(searches, unpruned, strict=True):
                spent, reached = replay(curves, pruner, warmup)
                rows.append((spent / epochs, 100 * (reached - best)))
            shares, lost = zip(*rows, strict=True)
            spread = statistics.stdev(lost) if len(lost) > 1 else 0.0
            each = "  ".join(f"{share:.2f} {points:+.2f}" for share, points in rows)
            mean = f"{statistics.fmean(lost):+.3f} ± {spread:.3f}"
            print(f"{pruner:<12} {warmup:>6} {statistics.fmean(shares):>8.2f}   {mean}   {each}")


def main() -> None:
    """Run the searches, replay them, print."""
    import optuna

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--warmups", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        root = str(Path(args.root).resolve())
        searches = list(pool.map(lambda seed: search(Path(folder), seed, root, args.trials), range(args.seeds)))
    report(searches, args.warmups)


if __name__ == "__main__":
    main()
