"""Runs and sweeps stopped at every moment and resumed: python -m benchmarks.kill [--points 12] [--jobs 2]

Runs: METHODS x MOMENTS x SIGNALS on small data; each run signals itself there (`benchmarks.interrupted_run`). Sweeps:
SWEEPS x PROGRESS x SIGNALS, signalled from outside. Each is then resumed as a user would, and compared with one left
alone: everything in the last checkpoint (weights, averages, optimizers, schedules, counters), the weights of the
best one, every metric of every epoch, and the test, bit by bit; of a sweep every row of its table. The status must be
that of the signal, and 0 in the end. Prints a line per point that differs and the counts.
"""

import argparse
import csv
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from benchmarks import interrupted_run
from benchmarks.interrupted_run import MOMENTS
from src.cli.config import ROOT
from src.model_files.checkpoint import read_checkpoint

QUICK = ["trainer.max_epochs=3", "figures=false", "threads=1", "trainer.accelerator=cpu", "logger=csv",
         "trainer.enable_progress_bar=false"]  # fmt: skip
SMALL = ["data=digits", "data.fraction=0.3", "data.batch_size=64"]
METHODS = {
    "plain": SMALL,
    "ema": [*SMALL, "callbacks=[default,ema]"],
    "accumulation": [*SMALL, "trainer.accumulate_grad_batches=3"],
    "dropout and augmentation": [*SMALL, "model.dropout=0.3", "augment=affine"],
    "early stopping": [*SMALL, "callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=1"],
    "lora": [*SMALL, "init_from={start}", "finetune=lora", "data.shots=20"],
    "mixup": [*SMALL, "task.mixup=0.4", "task.cutmix=0.5"],
    "workers that decode": ["data=folder", "data.root={pictures}", "data.memory_gb=1e-6", "data.num_workers=2"],
    "ddp": [*SMALL, "trainer.devices=2", "trainer.strategy=ddp"],
}
SWEEPS = {
    "grid": ["model=lenet,mlp", "seed=0,1"],
    "joblib": ["hydra/launcher=joblib", "model=lenet,mlp", "seed=0,1"],
    "optuna": [
        "hydra/sweeper=optuna", "hydra.sweeper.n_trials=5", "hydra.sweeper.startup=2", "hydra.sweeper.pruner=median",
        "model=lenet,mlp", "optimizer.lr=tag(log, interval(1e-4, 3e-2))",
    ],
}  # fmt: skip
PROGRESS = {  # what a sweep's folder holds when the signal comes
    "first job": "[0-9]*/status.json",
    "first checkpoint": "[0-9]*/checkpoints/last.ckpt",
    "later job": "2/status.json",
    "last job": "3/checkpoints/last.ckpt",
}
SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "INT": signal.SIGINT}
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["benchmarks.interrupted_run", "src.train", "src.training.fit", "src.evaluation.figures"])
PATIENCE_S = 300  # for any one process
# Columns that measure time, and the size of a file that names its folder.
CLOCKS = ("seconds", "error", "train/images_per_s", "transfer/seconds", "transfer/bytes")
SAME = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "callbacks", "loops", "epoch",
        "global_step")  # fmt: skip


class Point(NamedTuple):
    """One run or sweep, and where it is stopped."""

    kind: str
    moment: str
    signal: str


def all_points() -> list[Point]:
    """Every point of both matrices."""
    return [
        Point(*each)
        for each in (*itertools.product(METHODS, MOMENTS, SIGNALS), *itertools.product(SWEEPS, PROGRESS, SIGNALS))
    ]


def sample(points: list[Point], count: int, seed: int = 0) -> list[Point]:
    """So many of the points, in which every kind, moment and signal comes equally often, as far as that goes."""
    left, chosen = list(points), []
    random.Random(seed).shuffle(left)
    while left and len(chosen) < count:
        used = [value for point in chosen for value in point]
        best = min(left, key=lambda point: sum(used.count(value) for value in point))
        left.remove(best)
        chosen.append(best)
    return chosen


def run_command(words: list[str], log: str, env: dict[str, str]) -> None:
    """Be a command: its group's leader, with its words, its environment, and `log` for what it prints."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.environ |= env
    multiprocessing.set_start_method(None, force=True)  # as in a command: workers that decode are forked from it
    sys.argv = ["src.train", *words]
    interrupted_run.main()


class Command:
    """A command that runs beside this process: forked from one that has imported everything, or, with the processes
    that Lightning starts for itself, one of its own."""

    def __init__(self, words: list[str], log: Path, **env: str):
        self._popen = self._process = None
        if "trainer.strategy=ddp" in words:
            module = [sys.executable, "-m", "benchmarks.interrupted_run", *words]
            self._popen = subprocess.Popen(
                module, cwd=ROOT, env={**os.environ, **env}, process_group=0, stdout=log.open("a"),
                stderr=subprocess.STDOUT, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )  # fmt: skip
            self.pid = self._popen.pid
        else:
            self._process = FORK.Process(target=run_command, args=(words, str(log), env))
            self._process.start()
            self.pid = self._process.pid

    def poll(self) -> int | None:
        """Its status; negative for a signal that killed it, None while it runs."""
        return self._popen.poll() if self._popen else self._process.exitcode

    def wait(self) -> int:
        """Its status; of one that hangs, 124, after its group was killed."""
        until = time.monotonic() + PATIENCE_S
        while self.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            return 124
        return self.poll()


def leaves(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Nested values as (path, leaf)."""
    if isinstance(value, dict | list | tuple):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, f"{key}/{name}")
    else:
        yield key, value


def read_table(path: Path, folder: Path) -> list[dict[str, str]]:
    """The rows of a table without times, folders and the digests of files, which hold times."""
    with path.open(newline="") as file:
        rows = [
            {key: value.replace(str(folder), "") for key, value in row.items() if key not in CLOCKS}
            for row in csv.DictReader(file)
        ]
    return sorted(rows, key=lambda row: str(row.get("run", "")).zfill(3))


def outcome(folder: Path) -> dict[str, object]:
    """Everything of a finished run or sweep that must not depend on an interruption, by name."""
    if (folder / "runs.csv").is_file():
        return dict(leaves(read_table(folder / "runs.csv", folder)))
    last, best = (read_checkpoint(folder / f"checkpoints/{name}.ckpt") for name in ("last", "best"))
    results = json.loads((folder / "results.json").read_text())
    parts = {name: last[name] for name in SAME if name in last}
    metrics = {
        name: results[name] for name in ("val", "test", "best_epoch", "best_score", "steps", "epochs", "temperature")
    }
    return dict(
        leaves(
            {
                "last": parts,
                "best": best["state_dict"],
                "results": metrics,
                "epochs": read_table(folder / "metrics.csv", folder),
            }
        )
    )


def differences(ours: dict[str, object], theirs: dict[str, object]) -> list[str]:
    """The names of values that differ by a bit."""

    def equal(a: object, b: object) -> bool:
        return torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b or a != a

    return sorted({*ours} ^ {*theirs}) + [
        name for name in ours if name in theirs and not equal(ours[name], theirs[name])
    ]


class Stops:
    """Where the points run. folder: of everything they write."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._whole: dict[str, dict[str, object]] = {}

    def words(self, kind: str) -> list[str]:
        """Those of a method or a sweep, without its folder."""
        if kind in SWEEPS:
            return ["-m", *QUICK, *SMALL, *SWEEPS[kind]]
        paths = {"start": self.folder / "whole/plain", "pictures": self.folder / "pictures"}
        return [*QUICK, *(word.format(**paths) for word in METHODS[kind])]

    def whole(self, kind: str) -> None:
        """Run a method or a sweep that is left alone."""
        folder = self.folder / "whole" / kind.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        status = Command([*self.words(kind), *_in(kind, folder)], folder / "log").wait()
        if status:
            raise RuntimeError(f"{kind} ends with status {status}: {(folder / 'log').read_text()[-2000:]}")
        self._whole[kind] = outcome(folder)

    def stop(self, point: Point) -> str:
        """Stop a run or sweep at a point, resume it; what is wrong then, empty if nothing is."""
        folder = self.folder / "cut" / "_".join(point).replace(" ", "_").replace("'", "")
        folder.mkdir(parents=True)
        log, number = folder.with_suffix(".log"), SIGNALS[point.signal]
        words = [*self.words(point.kind), *_in(point.kind, folder)]
        if point.moment == "figures":
            words[words.index("figures=false")] = "figures=true"
        expected = -number if point.signal == "KILL" else 128 + number
        if point.kind in SWEEPS:
            status = self._stop_sweep(point, words, log)
        else:
            status = Command(words, log, STOP_MOMENT=point.moment, STOP_SIGNAL=str(int(number))).wait()
        if status != expected:
            return f"status {status} after the signal, not {expected}; {log}"
        last = folder / "checkpoints/last.ckpt"
        if point.kind in SWEEPS:
            words = [f"sweep.resume={folder}"] if (folder / "sweep.json").is_file() else words
        elif last.is_file():
            words = [f"resume_from={folder}", *["trainer.strategy=ddp"] * (point.kind == "ddp")]
        status = Command(words, log).wait()
        if status:
            return f"status {status} after resuming; {log}"
        differ = differences(outcome(folder), self._whole[point.kind])
        if not differ:
            shutil.rmtree(folder)
        return f"{len(differ)} values differ, such as {differ[0]}; {folder}" if differ else ""

    def _stop_sweep(self, point: Point, words: list[str], log: Path) -> int:
        process = Command(words, log)
        folder = Path(words[-1].partition("=")[2])
        until = time.monotonic() + PATIENCE_S
        while process.poll() is None and not any(folder.glob(PROGRESS[point.moment])) and time.monotonic() < until:
            time.sleep(0.005)
        if process.poll() is None:
            (os.killpg if point.signal == "INT" else os.kill)(process.pid, SIGNALS[point.signal])
        return process.wait()


def _in(kind: str, folder: Path) -> list[str]:
    return [f"hydra.{'sweep' if kind in SWEEPS else 'run'}.dir={folder}"]


def make_pictures(folder: Path) -> None:
    """Colour pictures of two classes."""
    rng = np.random.default_rng(0)
    for name, light in (("dark", 60), ("light", 180)):
        (folder / name).mkdir(parents=True)
        for index in range(60):
            image = np.clip(rng.normal(light, 50, (20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(folder / name / f"{index}.png")


def run_all(call: Callable[[Point], str], points: list[Point], jobs: int) -> dict[Point, str]:
    """What is wrong at each point."""
    wrong = {}
    with ThreadPoolExecutor(jobs) as pool:
        for point, problem in zip(points, pool.map(call, points), strict=True):
            wrong[point] = problem
            if problem:
                print(f"{', '.join(point)}: {problem}", flush=True)
    return wrong


def main() -> None:
    """Print what differs, and the counts by kind, moment and signal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, help="a balanced sample of so many; by default all")
    parser.add_argument("--kinds", nargs="+", choices=[*METHODS, *SWEEPS], help="only these methods and sweeps")
    parser.add_argument("--moments", nargs="+", choices=[*MOMENTS, *PROGRESS], help="only these moments")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="points at a time")
    args = parser.parse_args()
    points = [point for point in all_points() if point.kind in (args.kinds or point)]
    points = [point for point in points if point.moment in (args.moments or point)]
    points = sample(points, args.points) if args.points else points
    folder = Path(tempfile.mkdtemp(prefix="kill_"))
    stops = Stops(folder)
    make_pictures(folder / "pictures")
    kinds = list(dict.fromkeys(["plain", *(point.kind for point in points)]))
    stops.whole("plain")
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(stops.whole, kinds[1:]))
    wrong = run_all(stops.stop, points, args.jobs)
    for title, names in (("kind", [*METHODS, *SWEEPS]), ("moment", [*MOMENTS, *PROGRESS]), ("signal", list(SIGNALS))):
        for name in names:
            met = [problem for point, problem in wrong.items() if name in point]
            if met:
                print(f"{title:8}{name:28}{met.count('')} of {len(met)} equal")
    equal = list(wrong.values()).count("")
    print(f"{equal} of {len(points)} points: ended with the status of the signal, resumed, equal bit by bit")
    if equal == len(points):
        shutil.rmtree(folder)
    sys.exit(0 if equal == len(points) else 1)


if __name__ == "__main__":
    main()
