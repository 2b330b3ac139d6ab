"""What a resumed run may change of its config, and whether it has ended already."""

import logging
from pathlib import Path

from lightning.pytorch import Trainer

from src.data.seen_images import SeenImages, check_same_images
from src.errors import InputError, is_integer
from src.files import OUTPUTS, display_path, read_json
from src.model_files.checkpoint import read_checkpoint
from src.model_files.locate import find_checkpoint
from src.training.checkpoints import Checkpoints
from src.training.csv_logger import EpochCSVLogger
from src.training.trainer_state import callbacks_of

log = logging.getLogger(__name__)

FIXED = (
    "seed", "data", "augment", "model", "loss", "teacher", "optimizer", "scheduler", "task", "unlabelled", "callbacks",
    "finetune", "scenario", "continual", "init_from", "start", "head", "checkpoint",
)  # fmt: skip
# Flags of the Trainer that decide what a step is and how many there are; the others may change.
FIXED_TRAINER = (
    "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "limit_train_batches", "overfit_batches",
)  # fmt: skip
IN_RUN_FOLDER = (".folder", ".path", ".save_dir")  # keys of paths that move with a run
NAMES = ("._target_", ".name")  # what an option is; the keys beside it differ with it
MOST_ROWS = 1_000_000  # of metrics.csv that are looked for
# Options that older runs do not record, as they trained.
ADDED = {
    "augment.fill": "background", "model.stride": 1, "scenario.learned": 0, "unlabelled.batch_size": 96,
    "unlabelled.sure": 0.95, "unlabelled.weight": 1.0,
}  # fmt: skip
LIMITS = {"trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.min_epochs", "trainer.min_steps"}
# Keys that may differ each time: where files are, how they are read, what is displayed.
FREE = {
    "data": ("root", "download", "mirrors", "num_workers", "eval_batch_size", "memory_gb", "cache_gb"),
    "callbacks": ("progress", "early_stopping"),
}


def checkpoint_to_resume(reference: str | None) -> tuple[Path | None, dict]:
    """The last.ckpt of the run that is resumed, and its content; None and nothing without one."""
    if not reference:
        return None, {}
    path = find_checkpoint(reference, OUTPUTS, "last.ckpt", "resume_from")
    return path, read_checkpoint(path)


def check_same_run(saved: dict, config: dict, unread: bool = False) -> None:
    """Raise InputError naming the first key by which `config` would make another run of the `saved` one.

    unread: the data are not read yet; only their own options are compared, without those that are left open.
    """
    for group in ("seed", "data") if unread else (*FIXED, *(f"trainer.{flag}" for flag in FIXED_TRAINER)):
        before, now = (_flatten(_value(entries, group), group) for entries in (saved, config))
        free = tuple(f"{group}.{name}" for name in FREE.get(group, ()))
        for key in sorted(before.keys() | now.keys(), key=lambda key: (not key.endswith(NAMES), key)):
            older = key not in before and (group == "data" or now[key] == ADDED.get(key, ...))
            alike = before.get(key) == now.get(key) or (unread and now.get(key) in (None, "auto"))
            if key.startswith(free) or key.endswith(".folder") or older or alike:
                continue
            raise InputError(
                f"resume_from continues the same run, whose {key} is {before.get(key)}, not {now.get(key)}: "
                f"leave {group} as it was (limits of the trainer, logger, test, figures and threads may change), or "
                "train anew"
            )


def ended_results(folder: Path, checkpoint: dict, config: dict, seen: SeenImages | None) -> dict | None:
    """The results.json of a run that has ended: it is of this checkpoint, and the config asks for nothing more.

    checkpoint: the content of `last.ckpt`, or empty; config: of the command that resumes it, seen: its pictures. Limits
    that were reached before are no more. Raises InputError if it would become another run.
    """
    if not checkpoint:
        return None
    check_same_run(checkpoint["config"], config)
    check_same_images(checkpoint.get("seen"), seen)
    try:
        results = read_json(folder / "results.json")
        ended = results["steps"] == checkpoint["global_step"] and results["epochs"] == checkpoint["epoch"] + 1
        whole_epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    done = {"max_epochs": whole_epochs if is_integer(whole_epochs) else 0, "max_steps": results["steps"]}
    trainer = config.get("trainer") or {}
    reached = any(is_integer(trainer.get(key)) and 0 <= trainer[key] <= count for key, count in done.items())
    before, now = (
        _flatten({key: entries.get(key) for key in config}, "") for entries in (checkpoint["config"], config)
    )
    differing = {key[1:] for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
    differing -= {key for key, value in ADDED.items() if f".{key}" not in before and now.get(f".{key}") == value}
    changed = {key for key in differing if not key.endswith(IN_RUN_FOLDER)}
    return results if ended and (not changed or (reached and changed <= LIMITS)) else None


def check_files(checkpoint: dict, trainer: Trainer) -> None:
    """Hold the other files of a run against its `last.ckpt`, whose content this is.

    Raises InputError for a best.ckpt that cannot be read; rows that metrics.csv lacks are told.
    """
    for callback in callbacks_of(trainer):
        if isinstance(callback, Checkpoints):
            callback.check_best()
    done = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    for logger in trainer.loggers:
        if isinstance(logger, EpochCSVLogger) and (missing := logger.missing_epochs(min(done, MOST_ROWS))):
            epochs = f"epochs {missing[0]} to {missing[-1]}" if len(missing) > 1 else f"epoch {missing[0]}"
            log.warning(
                "%s has no row of %s (%d in all): they were lost, or logged elsewhere; the run goes on without them",
                display_path(logger.path), epochs, len(missing),
            )  # fmt: skip


def _value(config: dict, key: str) -> object:
    group, _, name = key.partition(".")
    return (config.get(group) or {}).get(name) if name else config.get(group)


def _flatten(value: object, prefix: str) -> dict[str, object]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {name: leaf for key, inner in value.items() for name, leaf in _flatten(inner, f"{prefix}.{key}").items()}
