"""Commands in processes of their own, as a user types them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from src.cli.config import ROOT
from src.model_files.checkpoint import read_checkpoint

QUICK = ["data=digits", "trainer.max_epochs=2", "trainer.accelerator=cpu"]


def start(*words: str, env: dict | None = None, **options) -> subprocess.Popen:
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "default", **(env or {})}
    env.pop("HYDRA_FULL_ERROR", None)
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Where tests run in the background Ctrl-C is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **options,
    )


def output_of(process: subprocess.Popen, seconds: float) -> tuple[str, str]:
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise


def run(*words: str, env: dict | None = None) -> subprocess.CompletedProcess:
    process = start(*words, env=env)
    out, err = output_of(process, 300)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def train_digits(folder: Path, *words: str) -> subprocess.CompletedProcess:
    return run("src.train", *QUICK, f"hydra.run.dir={folder}", *words)


def files(folder: Path) -> set[str]:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith("events.out")}


def weights(path: Path) -> dict:
    return read_checkpoint(path)["state_dict"]


def one_line(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def wait_for(path: Path, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not path.is_file():
        assert time.monotonic() < until, f"{path} did not appear"
        time.sleep(0.05)
