"""Measure the cost of dashboard=rich: python -m benchmarks.dashboard [--root data] [--rounds 5] [threads=1 ...]

Runs with and without it alternate in one process. Prints ratios of whole epochs, validation and checkpoints included,
in CPU seconds, which other programs on a busy machine hardly change, and the share of the dashboard's own hooks.
"""

import argparse
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from src.cli.config import load_config
from src.cli.process import tune_process

METHODS = {
    "_record": "forward pass of the sample",
    "_write_layers": "histograms, dead units, filters, maps",
    "_write_predictions": "PR curves, confusion",
    "_write_embedding": "embedding, once at the end",
}
EPOCH_HOOKS = ("on_before_optimizer_step", "on_validation_epoch_end", "on_train_epoch_end")
now = time.process_time


def time_methods(dashboard, spent: dict[str, list[float]]) -> None:
    """Append the seconds of each method and hook to `spent`."""
    for name in (*METHODS, *EPOCH_HOOKS):
        inner = getattr(dashboard, name)

        def outer(*args, inner=inner, name=name):
            started = now()
            result = inner(*args)
            spent[name].append(now() - started)
            return result

        setattr(dashboard, name, outer)


def run_epochs(words: list[str], option: str, spent: dict[str, list[float]]) -> tuple[list[float], float]:
    """Seconds of each epoch but the first, which imports modules, and of the whole fit."""
    from lightning.pytorch.callbacks import Callback

    from src.dashboard.callback import Dashboard
    from src.training.build import build
    from src.training.fit import fit

    class Clock(Callback):
        """Records when epochs start, and when the last one ends."""

        def __init__(self):
            self.times = []

        def on_train_epoch_start(self, *args):
            self.times.append(now())

        def on_train_end(self, *args):
            self.times.append(now())

    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        session = build(load_config([*words, f"dashboard={option}"], output_dir=folder), callbacks=[clock])
        for callback in session.trainer.callbacks:
            if isinstance(callback, Dashboard):
                time_methods(callback, spent)
        started = now()
        fit(session)
        whole = now() - started
    return [after - before for before, after in pairwise(clock.times[1:])], whole


def main() -> None:
    """Print the ratio of epochs with and without the dashboard, and the cost of each method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("words", nargs="*", help="overrides, such as model=resnet")
    args = parser.parse_args()
    logging.disable(logging.INFO)
    warnings.filterwarnings("ignore")
    tune_process()
    words = [f"data.root={Path(args.root).resolve()}", f"trainer.max_epochs={args.epochs}", "trainer.accelerator=cpu"]
    words += ["trainer.enable_progress_bar=false", *args.words]
    spent: dict[str, list[float]] = defaultdict(list)
    ratios, wholes, seconds = [], [], []
    for number in range(args.rounds):
        order = ("none", "rich") if number % 2 == 0 else ("rich", "none")
        results = {option: run_epochs(words, option, spent) for option in order}
        plain_s, rich_s = (statistics.median(results[option][0]) for option in ("none", "rich"))
        ratios.append(rich_s / plain_s)
        wholes.append(results["rich"][1] / results["none"][1])
        seconds.append(plain_s)
        print(f"round {number + 1}: {plain_s:.2f} s without, {rich_s:.2f} s with: {rich_s / plain_s:.3f}", flush=True)
    ratio, epoch_s = statistics.median(ratios), statistics.median(seconds)
    print(f"an epoch takes {100 * (ratio - 1):+.1f} % ({min(ratios):.3f} to {max(ratios):.3f}), median {ratio:.3f}")
    own = sum(sum(spent[name]) for name in EPOCH_HOOKS) / (args.rounds * args.epochs)
    print(f"its own hooks in a mean epoch: {1000 * own:.0f} ms, {100 * own / epoch_s:.2f} %")
    print(f"all of {args.epochs} epochs, with the first record and the embedding: {statistics.median(wholes):.3f}")
    for name, text in METHODS.items():
        middle = statistics.median(spent[name])
        print(f"  {text:<40} {1000 * middle:7.1f} ms   {100 * middle / epoch_s:5.2f} % of an epoch")


if __name__ == "__main__":
    sys.exit(main())
