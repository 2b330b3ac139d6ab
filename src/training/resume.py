"""What a resumed run may change of its config."""

from src.errors import InputError

FIXED = (
    "seed", "data", "augment", "model", "loss", "teacher", "optimizer", "scheduler", "task", "callbacks", "finetune",
    "init_from", "start", "head", "checkpoint",
)  # fmt: skip
# Keys that may differ each time: where files are, how they are read, what is displayed.
FREE = {
    "data": ("root", "download", "mirrors", "num_workers", "eval_batch_size", "memory_gb"),
    "callbacks": ("progress", "early_stopping"),
}


def check_same_run(saved: dict, config: dict) -> None:
    """Raise InputError naming the first key by which `config` would make another run of the `saved` one."""
    for group in FIXED:
        before, now = _flatten(saved.get(group), group), _flatten(config.get(group), group)
        free = tuple(f"{group}.{name}" for name in FREE.get(group, ()))
        for key in sorted(before.keys() | now.keys()):
            if key.startswith(free) or key.endswith(".folder") or before.get(key) == now.get(key):
                continue
            raise InputError(
                f"resume_from continues the same run, whose {key} is {before.get(key)}, not {now.get(key)}: "
                f"leave {group} as it was (trainer, logger, test, figures and threads may change), or train anew"
            )


def _flatten(value: object, prefix: str) -> dict[str, object]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {name: leaf for key, inner in value.items() for name, leaf in _flatten(inner, f"{prefix}.{key}").items()}
