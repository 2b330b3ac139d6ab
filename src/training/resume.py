"""Going on with a run: its own command again, in its own folder, and nothing changed that would make it another run."""

from src.errors import InputError

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
