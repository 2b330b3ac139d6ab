"""Sweeps as commands in the background, and what their folders say."""

import csv
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def sweep(env: dict[str, str], *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "src.train", "-m", *words]
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def metrics_of_runs(folder: Path) -> dict[str, dict]:
    with (folder / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {row["run"]: {name: text for name, text in row.items() if name not in ("seconds", "run")} for row in rows}


def state_of(folder: Path, job: int) -> dict:
    path = folder / str(job) / "status.json"
    return json.loads(path.read_text()) if path.is_file() else {}
