"""The same work beside what a user would pick instead: python -m benchmarks.peers [--root data] [--only examples ours]

Each side is a process of its own, and the sides take turns in one run. benchmarks/peer_programs.py has the others, as a
user writes them; ours is the command `python -m src.train experiment=fast`. A process prints a JSON line at the start
and at the end of each epoch. The others end with the epoch after which 99.0 % of the test images are right; their test
accuracy is watched only to find that epoch. examples and reference test after each epoch anyway; where a program does
not, the time of that test is taken off. Ours is counted to the end of its process, its one test and files included;
it keeps to its two epochs, and one callback prints when they start and end.

Columns: seconds from the start of the process until 99.0 % is reached; test accuracy after the last epoch; epochs;
median seconds of an epoch with its validation, and training images over them; seconds until the first epoch starts;
peak resident memory; lines of code that a user writes.
"""

import argparse
import ast
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

# Not torch: Linux counts a new process' peak memory from what its parent holds.
ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "benchmarks" / "peer_programs.py"
TARGET = 0.99
PARTS = {  # the names of SOURCE that make up each program
    "examples": ("examples_network", "examples"),
    "lightning": ("lenet", "lightning"),
    "template": ("template_network", "template"),
    "reference": ("lenet", "Meter", "top_k", "reference"),
}
NAMES = (*PARTS, "ours")


class Clock:
    """Prints when epochs start and end, seconds of time.monotonic() without those spent watching, as JSON lines."""

    def __init__(self):
        self.watched = 0.0

    def epoch_starts(self, images: int) -> None:
        """images: the training images of one epoch."""
        self._print(event="start", images=images)

    def epoch_ends(self, accuracy: float | None) -> None:
        """End the program if TARGET is reached; accuracy: of the test images, None while it is unknown."""
        self._print(event="end", accuracy=accuracy)
        if accuracy is not None and accuracy >= TARGET:
            sys.exit()

    def callback(self, test_loader=None):
        """A callback of Lightning that prints them. test_loader: None takes the data module's."""
        import torch
        from lightning.pytorch import Callback

        clock = self

        class EpochTimes(Callback):
            def on_train_epoch_start(self, trainer, task) -> None:
                clock.epoch_starts(len(trainer.train_dataloader.dataset))

            def on_train_epoch_end(self, trainer, task) -> None:
                begun = time.monotonic()
                task.eval()
                loader = test_loader or trainer.datamodule.test_dataloader()
                with torch.no_grad():
                    right = sum(int((task(images).argmax(1) == labels).sum()) for images, labels in loader)
                task.train()
                watched = time.monotonic() - begun
                clock.watched += watched
                clock.epoch_ends(right / len(loader.dataset))

        return EpochTimes()

    def _print(self, **event) -> None:
        # Past the progress bar, which may hold sys.stdout and the current line.
        print("\n" + json.dumps({**event, "time": time.monotonic() - self.watched}), file=sys.__stdout__, flush=True)


def epoch_times():
    """The callback with which ours prints its epochs; its test accuracy is in results.json."""
    from lightning.pytorch import Callback

    clock = Clock()

    class EpochTimes(Callback):
        def on_train_epoch_start(self, trainer, task) -> None:
            clock.epoch_starts(len(trainer.datamodule.train_set))

        def on_train_epoch_end(self, trainer, task) -> None:
            clock.epoch_ends(None)

    return EpochTimes()


@dataclass
class Run:
    """One process: its events, seconds since it was started."""

    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    images: int = 0
    ended_s: float | None = None  # the end of the process, for ours
    peak_mib: float = 0.0

    @property
    def epoch_s(self) -> float:
        """Seconds of an epoch, validation included: the median."""
        return statistics.median(end - start for start, end in zip(self.starts, self.ends, strict=True))

    @property
    def reached_s(self) -> float | None:
        """Seconds to TARGET; None where it is not reached."""
        return (self.ended_s or self.ends[-1]) if self.accuracies[-1] >= TARGET else None


def command_of(name: str, root: str, folder: str, epochs: int, images: int | None, seed: int) -> list[str]:
    """The words that start a side."""
    if name == "ours":
        words = ["src.train", "experiment=fast", f"seed={seed}", f"data.root={root}", f"hydra.run.dir={folder}"]
        fraction = [f"data.fraction={images / 60_000}"] if images else []
        return [*words, *fraction, "+callbacks.times._target_=benchmarks.peers.epoch_times"]
    few = ["--images", str(images)] if images else []
    return ["benchmarks.peer_programs", name, "--root", root, "--epochs", str(epochs), *few]


def run(name: str, root: str, epochs: int = 12, images: int | None = None, seed: int = 0) -> Run:
    """Run one side in a process of its own; its files go to a temporary folder.

    images: train on so few only, for tests. Raises RuntimeError with the end of its error output if it fails.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as errors:
        words = [sys.executable, "-m", *command_of(name, root, folder, epochs, images, seed)]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        started, result = time.monotonic(), Run()
        with subprocess.Popen(
            words, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=errors, errors="replace"
        ) as process:
            for line in process.stdout:
                if line.startswith('{"event": '):
                    take(json.loads(line), started, result)
            _, status, usage = os.wait4(process.pid, 0)
            ended, process.returncode = time.monotonic(), os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{name} ended with status {process.returncode}:\n{errors.read()[-2000:]}")
        if name == "ours":
            result.accuracies.append(json.loads((Path(folder) / "results.json").read_text())["test"]["acc"])
            result.ended_s = ended - started
    result.peak_mib = usage.ru_maxrss / 1024 / (1024 if sys.platform == "darwin" else 1)
    return result


def take(event: dict, started: float, result: Run) -> None:
    """Add an event to `result`, and say so where an epoch ends."""
    seconds = event["time"] - started
    if event["event"] == "start":
        result.starts.append(seconds)
        result.images = event["images"]
    else:
        result.ends.append(seconds)
        accuracy = event["accuracy"]
        if accuracy is not None:
            result.accuracies.append(accuracy)
        known = "" if accuracy is None else f", test accuracy {accuracy:.2%}"
        print(f"  epoch {len(result.ends)} ended at {seconds:.1f} s{known}", file=sys.stderr, flush=True)


def code_lines(source: str, names: tuple[str, ...]) -> int:
    """Lines of code of the definitions `names` and of the imports that they use.

    Without blank lines, comments, docstrings and lines that mention `clock.`, which measure.
    """
    tree = ast.parse(source)
    parts = [node for node in tree.body if getattr(node, "name", None) in names]
    used = {node.id for part in parts for node in ast.walk(part) if isinstance(node, ast.Name)}
    imports = [
        node
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom) and used & {alias.asname or alias.name for alias in node.names}
        if getattr(node, "module", "") != "benchmarks.peers"
    ]
    wanted = {line for node in (*parts, *imports) for line in range(node.lineno, node.end_lineno + 1)}
    for part in parts:
        for node in ast.walk(part):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
                wanted -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = iter(source.splitlines(keepends=True))
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(lambda: next(lines, ""))
    code = {token.start[0] for token in tokens if token.type not in nothing}
    return sum("clock." not in text for number, text in enumerate(source.splitlines(), 1) if number in wanted & code)


def user_lines(name: str) -> int:
    """Lines that a user writes for a side: ours is one command."""
    return 1 if name == "ours" else code_lines(SOURCE.read_text(), PARTS[name])


def table_row(name: str, runs: list[Run]) -> str:
    """A side's medians over its runs."""

    def median(value) -> float:
        return statistics.median(map(value, runs))

    reached = [run.reached_s for run in runs if run.reached_s is not None]
    epochs = max(len(run.ends) for run in runs)
    to_target = f"{statistics.median(reached):.1f}" if len(reached) == len(runs) else f"not in {epochs} epochs"
    return (
        f"{name:<10}{to_target:>17}{100 * median(lambda run: run.accuracies[-1]):>9.2f}{epochs:>8}"
        f"{median(lambda run: run.epoch_s):>9.2f}{median(lambda run: run.images / run.epoch_s):>10,.0f}"
        f"{median(lambda run: run.starts[0]):>10.1f}{median(lambda run: run.peak_mib):>10,.0f}{user_lines(name):>7}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data", help="folder with MNIST/raw")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="leave out the others")
    parser.add_argument("--most-epochs", type=int, default=12, help="the others stop after so many")
    parser.add_argument("--images", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    runs: dict[str, list[Run]] = {name: [] for name in args.only}
    for repeat in range(args.repeats):
        for name, done in runs.items():
            print(f"{name}, {repeat + 1} of {args.repeats}", file=sys.stderr, flush=True)
            done.append(run(name, str(Path(args.root).resolve()), args.most_epochs, args.images, seed=repeat))
    threads = os.environ.get("OMP_NUM_THREADS", "one per core")
    print(f"{os.cpu_count()} CPU cores, threads: {threads}, n={args.repeats}\n")
    heads = ("s to 99.0 %", 17), ("test, %", 9), ("epochs", 8), ("s/epoch", 9), ("images/s", 10), ("start, s", 10)
    print(f"{'':<10}" + "".join(f"{head:>{width}}" for head, width in (*heads, ("peak, MiB", 10), ("lines", 7))))
    for name, done in runs.items():
        print(table_row(name, done))
    if {"examples", "ours"} <= set(runs):
        from benchmarks.speed import row

        pairs = [(a.reached_s, b.reached_s) for a, b in zip(runs["examples"], runs["ours"], strict=True)]
        ratios = [theirs / ours for theirs, ours in pairs if theirs and ours]
        figure = f"{statistics.median(ratios):.1f}" if len(ratios) == len(pairs) else "-"
        row("seconds to 99.0 %: pytorch/examples over ours", figure, f"at least 35; n={len(ratios)} of {len(pairs)}")


if __name__ == "__main__":
    main()
