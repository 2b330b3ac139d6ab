"""Going on with a run: its own command again, in its own folder, and nothing changed that would make it another run."""

import sys

from src.errors import InputError, require
from src.run import ROOT, flags_first
from src.runs import find_checkpoint

FIXED = (
    "seed",
    "data",
    "augment",
    "model",
    "loss",
    "teacher",
    "optimizer",
    "scheduler",
    "task",
    "callbacks",
    "finetune",
    "init_from",
    "start",
    "head",
    "checkpoint",
)
# What may be another each time: where files are, how they are read, what is shown.
FREE = {
    "data": ("root", "download", "mirrors", "num_workers", "eval_batch_size", "memory_gb"),
    "callbacks": ("progress", "early_stopping"),
}
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

    from src.checkpoint import read_checkpoint

    path = find_checkpoint(given[-1].strip("'\""), ROOT / "outputs", "last.ckpt", "resume_from").resolve()
    recorded = read_checkpoint(path)["config"].get("overrides")
    require(recorded is not None, f"resume_from={given[-1]}: this checkpoint does not record its command")
    before = [word for word in recorded if not word.startswith("resume_from=")]
    folder = path.parents[1]
    sys.argv[1:] = flags_first([*before, *now, f"resume_from='{path}'", f"hydra.run.dir='{folder}'"])


def check_same_run(saved: dict, now: dict) -> None:
    """Raise InputError naming what differs between two configs that must be one run's."""
    for group in FIXED:
        ours, theirs = _flat(saved.get(group), group), _flat(now.get(group), group)
        for key in sorted(ours.keys() | theirs.keys()):
            if key.startswith(tuple(f"{group}.{name}" for name in FREE.get(group, ()))):
                continue
            if key.endswith(".folder"):
                continue
            if ours.get(key) != theirs.get(key):
                raise InputError(
                    f"resume_from goes on with the same run, whose {key} is {ours.get(key)}, not {theirs.get(key)}: "
                    f"leave {group} as it was (trainer, logger, test, figures and threads may change), or train anew"
                )


def _flat(value: object, prefix: str) -> dict[str, object]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {name: leaf for key, inner in value.items() for name, leaf in _flat(inner, f"{prefix}.{key}").items()}
