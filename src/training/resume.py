"""What a resumed run may change of its config, and whether it has ended already."""

from pathlib import Path

from src.errors import InputError
from src.files import read_json

FIXED = (
    "seed", "data", "augment", "model", "loss", "teacher", "optimizer", "scheduler", "task", "callbacks", "finetune",
    "init_from", "start", "head", "checkpoint",
)  # fmt: skip
# Flags of the Trainer that decide what a step is and how many there are; the others may change.
FIXED_TRAINER = (
    "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "limit_train_batches", "overfit_batches",
)  # fmt: skip
# Keys that may differ each time: where files are, how they are read, what is displayed.
FREE = {
    "data": ("root", "download", "mirrors", "num_workers", "eval_batch_size", "memory_gb"),
    "callbacks": ("progress", "early_stopping"),
}


def check_same_run(saved: dict, config: dict) -> None:
    """Raise InputError naming the first key by which `config` would make another run of the `saved` one."""
    for group in (*FIXED, *(f"trainer.{flag}" for flag in FIXED_TRAINER)):
        before, now = (_flatten(_value(entries, group), group) for entries in (saved, config))
        free = tuple(f"{group}.{name}" for name in FREE.get(group, ()))
        for key in sorted(before.keys() | now.keys()):
            if key.startswith(free) or key.endswith(".folder") or before.get(key) == now.get(key):
                continue
            raise InputError(
                f"resume_from continues the same run, whose {key} is {before.get(key)}, not {now.get(key)}: "
                f"leave {group} as it was (limits of the trainer, logger, test, figures and threads may change), or "
                "train anew"
            )


def ended_results(folder: Path, checkpoint: dict, config: dict) -> dict | None:
    """The results.json of a run that has ended: it is of this checkpoint, and the config has not changed since.

    checkpoint: the content of `last.ckpt`; config: of the command that resumes it.
    """
    if any(checkpoint["config"].get(key) != value for key, value in config.items()):
        return None
    try:
        results = read_json(folder / "results.json")
        ended = results["steps"] == checkpoint["global_step"] and results["epochs"] == checkpoint["epoch"] + 1
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return results if ended else None


def _value(config: dict, key: str) -> object:
    group, _, name = key.partition(".")
    return (config.get(group) or {}).get(name) if name else config.get(group)


def _flatten(value: object, prefix: str) -> dict[str, object]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {name: leaf for key, inner in value.items() for name, leaf in _flatten(inner, f"{prefix}.{key}").items()}
