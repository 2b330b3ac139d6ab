"""What `newest`, init_from, loss.teacher, resume_from and sweep.resume stand for on a command line."""

from __future__ import annotations

import sys

from src.cli.config import ROOT
from src.cli.overrides import flags_first
from src.errors import require
from src.model_files.locate import find_checkpoint


def choose_start() -> None:
    """With init_from=..., put its file into sys.argv, so that the run records which one it was, and take
    experiment=finetune unless an experiment is given."""
    words = sys.argv[1:]
    given = [word.partition("=")[2].strip("'\"") for word in words if _is(word, "init_from")]
    resumed = any(_is(word, "resume_from") and word.partition("=")[2] not in ("", "null") for word in words)
    if resumed or not given or given[-1] in ("", "null"):
        return
    if not any(word.startswith("experiment=") for word in words):
        words = ["experiment=finetune", *words]
    if "," not in given[-1]:  # a sweep over starts finds each of them when its turn comes
        path = find_checkpoint(given[-1], ROOT / "outputs", key="init_from").resolve()
        words = [word for word in words if not _is(word, "init_from")] + [f"init_from='{path}'"]
    sys.argv[1:] = flags_first(words)


def choose_teacher() -> None:
    """With loss.teacher=..., put its file into sys.argv, so that the run records which one it was."""
    words = sys.argv[1:]
    given = [word.partition("=")[2].strip("'\"") for word in words if _is(word, "loss.teacher")]
    if given and given[-1] not in ("", "null") and "," not in given[-1]:
        path = find_checkpoint(given[-1], ROOT / "outputs", key="loss.teacher").resolve()
        words = [word for word in words if not _is(word, "loss.teacher")] + [f"loss.teacher='{path}'"]
        sys.argv[1:] = flags_first(words)


def _is(word: str, key: str) -> bool:
    return word.lstrip("+").startswith(f"{key}=")


REFUSED = ("-m", "--multirun", "hydra.run.dir", "hydra.sweep")


def resume() -> None:
    """With resume_from=..., make sys.argv the command that the checkpoint records, plus what is given now.

    Raises InputError if there is no such run, or together with a sweep or another folder.
    """
    given = [word.partition("=")[2] for word in sys.argv[1:] if word.startswith("resume_from=")]
    if not given or given[-1] in ("", "null"):
        return
    now = [word for word in sys.argv[1:] if not word.startswith("resume_from=")]
    refused = [word for word in now if word.startswith(REFUSED)]
    require(
        not refused, f"resume_from={given[-1]} goes on with one run in its own folder: leave {' '.join(refused)} out"
    )

    from src.model_files.checkpoint import read_checkpoint

    path = find_checkpoint(given[-1].strip("'\""), ROOT / "outputs", "last.ckpt", "resume_from").resolve()
    recorded = read_checkpoint(path)["config"].get("overrides")
    require(recorded is not None, f"resume_from={given[-1]}: this checkpoint does not record its command")
    before = [word for word in recorded if not word.startswith("resume_from=")]
    folder = path.parents[1]
    sys.argv[1:] = flags_first([*before, *now, f"resume_from='{path}'", f"hydra.run.dir='{folder}'"])
