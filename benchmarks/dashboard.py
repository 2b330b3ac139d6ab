"""What dashboard=rich adds to an epoch: python -m benchmarks.dashboard [--root data] [--rounds 5] [threads=1 ...]

Runs with and without it take turns in one process. What is printed are ratios of whole epochs (validation and
checkpoints included) in seconds of the processor, which other programs on a busy machine hardly change, and the share
of the time that the dashboard's own hooks took in the same run.
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

PARTS = {
    "_look": "forward pass of the sample",
    "_write_layers": "histograms, dead units, filters, maps",
    "_write_answers": "PR curves, confusion",
    "_write_embedding": "embedding, once at the end",
}
EACH_EPOCH = ("on_before_optimizer_step", "on_validation_epoch_end", "on_train_epoch_end")
now = time.process_time


def timed(dashboard, spent: dict[str, list[float]]) -> None:
    """Note the seconds of each part in `spent`."""
    for name in (*PARTS, *EACH_EPOCH):
        inner = getattr(dashboard, name)

        def outer(*args, inner=inner, name=name):
            begun = now()
            result = inner(*args)
            spent[name].append(now() - begun)
            return result

        setattr(dashboard, name, outer)


def epochs(words: list[str], option: str, spent: dict[str, list[float]]) -> tuple[list[float], float]:
    """Seconds of each epoch but the first, which imports, and of the whole fit."""
    from lightning.pytorch.callbacks import Callback

    from src.dashboard.callback import Dashboard
    from src.training.build import build
    from src.training.fit import fit

    class Clock(Callback):
        """Notes when epochs begin, and when the last one has ended."""

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
                timed(callback, spent)
        started = now()
        fit(session)
        whole = now() - started
    return [after - before for before, after in pairwise(clock.times[1:])], whole


def main() -> None:
    """Print the ratio of an epoch with to one without, and the parts."""
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
        made = {option: epochs(words, option, spent) for option in order}
        plain_s, rich_s = (statistics.median(made[option][0]) for option in ("none", "rich"))
        ratios.append(rich_s / plain_s)
        wholes.append(made["rich"][1] / made["none"][1])
        seconds.append(plain_s)
        print(f"round {number + 1}: {plain_s:.2f} s without, {rich_s:.2f} s with: {rich_s / plain_s:.3f}", flush=True)
    ratio, epoch_s = statistics.median(ratios), statistics.median(seconds)
    print(f"an epoch takes {100 * (ratio - 1):+.1f} % ({min(ratios):.3f} to {max(ratios):.3f}), median {ratio:.3f}")
    own = sum(sum(spent[name]) for name in EACH_EPOCH) / (args.rounds * args.epochs)
    print(f"of which its own hooks, a mean epoch: {1000 * own:.0f} ms, {100 * own / epoch_s:.2f} %")
    print(f"all of {args.epochs} epochs, the first look and the embedding included: {statistics.median(wholes):.3f}")
    for name, text in PARTS.items():
        middle = statistics.median(spent[name])
        print(f"  {text:<40} {1000 * middle:7.1f} ms   {100 * middle / epoch_s:5.2f} % of an epoch")


if __name__ == "__main__":
    sys.exit(main())
