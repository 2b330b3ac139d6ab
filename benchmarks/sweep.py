"""The overhead of a sweep over its training: python -m benchmarks.sweep [--root data] [--jobs 24]

In one process, jobs of a sweep (one epoch of LeNet-5 on MNIST each) alternate with bare epochs of the same loop
(Lightning, training and validation, no logger, no files): the ratio of their sums, and the median ratio of the pairs.
Then the same sweep as whole commands, with hydra/launcher=serial and joblib in turns.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, open_dict

from src.cli.command import run_job
from src.cli.config import CONF, ROOT, load_config
from src.sweep.launcher import SerialLauncher

COMMON = ["trainer.max_epochs=1", "test=false", "figures=false", "trainer.accelerator=cpu"]


def train_job(cfg: DictConfig) -> float | None:
    """The task function of src.train."""
    from src.training.fit import train

    return run_job(lambda config: train(config, list(HydraConfig.get().overrides.task)), cfg)


def bare_epoch(overrides: list[str], folder: Path) -> float:
    """Seconds of one epoch of the loop alone: training and validation."""
    from lightning.pytorch import Callback

    from src.training.build import build
    from src.training.fit import fit

    class Clock(Callback):
        def on_train_epoch_start(self, trainer, task) -> None:
            self.started = time.perf_counter()

        def on_fit_end(self, trainer, task) -> None:
            self.seconds = time.perf_counter() - self.started

    clock = Clock()
    bare = ["logger=none", "trainer.enable_checkpointing=false"]
    fit(build(load_config([*overrides, *bare], output_dir=folder), callbacks=[clock]))
    return clock.seconds


def measure_overhead(folder: Path, root: str, jobs: int, batch: int) -> None:
    """Print the time of jobs over that of bare epochs, without the first job."""
    from src.cli.process import quiet_libraries

    quiet_libraries()
    overrides = [*COMMON, f"data.root={root}", f"data.batch_size={batch}", "trainer.enable_progress_bar=false"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides, return_hydra_config=True)
        with open_dict(cfg):
            cfg.hydra.mode = RunMode.MULTIRUN
            cfg.hydra.sweep.dir = str(folder / str(batch))
        loader = GlobalHydra.instance().hydra.config_loader
        launcher = SerialLauncher()
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        launcher.setup(hydra_context=context, task_function=train_job, config=cfg)
        job_seconds, bare_seconds = [], []
        for number in range(jobs + 1):
            start = time.perf_counter()
            result = launcher.submit([*overrides, f"seed={number}"], number).result()
            seconds = time.perf_counter() - start
            assert result.return_value is not None
            bare = bare_epoch(overrides, folder / "bare")
            if number:  # the first imports libraries and reads the data
                job_seconds.append(seconds)
                bare_seconds.append(bare)
    ratios = [a / b for a, b in zip(job_seconds, bare_seconds, strict=True)]
    print(
        f"{jobs} one-epoch jobs over {jobs} bare epochs, batch {batch}: {sum(job_seconds) / sum(bare_seconds):.3f} "
        f"(median of pairs {statistics.median(ratios):.3f}; {statistics.median(job_seconds):.2f} s over "
        f"{statistics.median(bare_seconds):.2f} s)",
        flush=True,
    )


def run_sweep(folder: Path, root: str, jobs: int, launcher: str) -> float:
    """Seconds of a sweep as a command."""
    start = time.perf_counter()
    subprocess.run(
        [
            sys.executable, "-m", "src.train", "-m", *COMMON, f"data.root={root}", f"seed=range({jobs})",
            f"hydra/launcher={launcher}", f"hydra.sweep.dir={folder / f'{launcher}_{start}'}",
        ],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - start


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="data")
    parser.add_argument("--jobs", type=int, default=24)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for batch in args.batches:
            measure_overhead(Path(folder), args.root, args.jobs, batch)
        times = {"serial": [], "joblib": []}
        for _ in range(args.repeats):
            for launcher, seconds in times.items():
                seconds.append(run_sweep(Path(folder), args.root, args.jobs, launcher))
        if not args.repeats:
            return
        serial, joblib = map(statistics.median, times.values())
        print(f"serial over joblib, {args.jobs} jobs: {serial / joblib:.2f} ({serial:.0f} s over {joblib:.0f} s)")


if __name__ == "__main__":
    main()
