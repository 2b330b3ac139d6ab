"""What a sweep costs beside its training: python -m benchmarks.sweep [--root data] [--jobs 24]

First the jobs of a sweep, one epoch of LeNet-5 on MNIST each, in turns with bare epochs of the same loop (Lightning,
training and validation, no logger, no files), in one process: the ratio of their medians, and of the sums. Then the
same sweep as whole commands, one job after another and with hydra/launcher=joblib, in turns.
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


def job(cfg: DictConfig) -> float | None:
    """What a sweep runs."""
    from src.training.fit import train

    return run_job(lambda config: train(config, list(HydraConfig.get().overrides.task)), cfg)


def bare_epoch(words: list[str], folder: Path) -> float:
    """Seconds of an epoch of the same loop: training and validation."""
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
    fit(build(load_config([*words, *bare], output_dir=folder), callbacks=[clock]))
    return clock.seconds


def overhead(folder: Path, root: str, jobs: int, batch: int) -> None:
    """Print the cost of jobs over bare epochs, after the first job."""
    from src.cli.process import quiet_libraries

    quiet_libraries()
    words = [*COMMON, f"data.root={root}", f"data.batch_size={batch}", "trainer.enable_progress_bar=false"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", words, return_hydra_config=True)
        with open_dict(cfg):
            cfg.hydra.mode = RunMode.MULTIRUN
            cfg.hydra.sweep.dir = str(folder / str(batch))
        loader = GlobalHydra.instance().hydra.config_loader
        launcher = SerialLauncher()
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        launcher.setup(hydra_context=context, task_function=job, config=cfg)
        with_all, without = [], []
        for number in range(jobs + 1):
            began = time.perf_counter()
            result = launcher.submit([*words, f"seed={number}"], number).result()
            seconds = time.perf_counter() - began
            assert result.return_value is not None
            bare = bare_epoch(words, folder / "bare")
            if number:  # the first pays for imports and data
                with_all.append(seconds)
                without.append(bare)
    ratios = [a / b for a, b in zip(with_all, without, strict=True)]
    print(
        f"{jobs} one-epoch jobs over {jobs} bare epochs, batch {batch}: {sum(with_all) / sum(without):.3f} "
        f"(median of pairs {statistics.median(ratios):.3f}; {statistics.median(with_all):.2f} s over "
        f"{statistics.median(without):.2f} s)",
        flush=True,
    )


def command(folder: Path, root: str, jobs: int, launcher: str) -> float:
    """Seconds of a whole sweep."""
    began = time.perf_counter()
    subprocess.run(
        [
            sys.executable, "-m", "src.train", "-m", *COMMON, f"data.root={root}", f"seed=range({jobs})",
            f"hydra/launcher={launcher}", f"hydra.sweep.dir={folder / f'{launcher}_{began}'}",
        ],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - began


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", default="data")
    parser.add_argument("--jobs", type=int, default=24)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for batch in args.batches:
            overhead(Path(folder), args.root, args.jobs, batch)
        times = {"serial": [], "joblib": []}
        for _ in range(args.repeats):
            for launcher, seconds in times.items():
                seconds.append(command(Path(folder), args.root, args.jobs, launcher))
        if not args.repeats:
            return
        serial, joblib = map(statistics.median, times.values())
        print(f"serial over joblib, {args.jobs} jobs: {serial / joblib:.2f} ({serial:.0f} s over {joblib:.0f} s)")


if __name__ == "__main__":
    main()
