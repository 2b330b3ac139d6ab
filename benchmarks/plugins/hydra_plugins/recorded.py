"""A launcher for benchmarks.scale: every job finishes at once, with a recorded run's files and a drawn result."""

import json
import random
import shutil
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import yaml
from hydra.core.utils import JobReturn, JobStatus

from src.sweep.launcher import JobLauncher

FILES = ("metrics.csv", "results.json", "status.json", ".hydra/config.yaml", ".hydra/hydra.yaml")


class RecordedLauncher(JobLauncher):
    """recorded: the folder of a run whose small files each job gets."""

    def __init__(self, recorded: str):
        self.recorded = Path(recorded)

    def submit(self, overrides: Sequence[str], number: int) -> Future:
        folder = Path(self.config.hydra.sweep.dir) / str(number)
        (folder / ".hydra").mkdir(parents=True)
        for name in FILES:
            shutil.copy(self.recorded / name, folder / name)
        (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
        results = json.loads((folder / "results.json").read_text())
        accuracy = random.Random(number).gauss(0.95, 0.01)
        results["val"]["acc"] = results["best_score"] = accuracy
        (folder / "results.json").write_text(json.dumps(results))
        future: Future = Future()
        future.set_result(JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED))
        return future
