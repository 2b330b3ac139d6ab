"""Old import paths that users' files and command lines may still name, and where each class stands now.

Checkpoints, exported files and configs store classes as `_target_` paths. This is the only map of those that moved.
"""

from collections.abc import Callable
from typing import Any

PACKAGE = __name__.partition(".")[0]  # src in the checkout; the wheel installs it under its own name
MOVED_MODULES = {
    "src.callbacks": "src.training.callbacks",
    "src.data.module": "src.data.datamodule",
    "src.distillation": "src.training.distillation",
    "src.finetune.closed": "src.finetune.closed_form",
    "src.insight.live": "src.dashboard.callback",
    "src.insight.lr_range": "src.training.lr_range",
    "src.loggers": "src.training.csv_logger",
    "src.losses": "src.training.losses",
    "src.optimizers": "src.training.schedules",
}
MOVED_CLASSES = {
    "src.callbacks.Checkpoints": "src.training.checkpoints.Checkpoints",
    "src.callbacks.EMA": "src.training.ema.EMA",
    "src.callbacks.Progress": "src.training.callbacks.EpochProgressBar",
    "src.loggers.EpochTable": "src.training.csv_logger.EpochCSVLogger",
    "src.optimizers.MuonAdamW": "src.training.optimizers.MuonAdamW",
    "src.training.callbacks.Checkpoints": "src.training.checkpoints.Checkpoints",
    "src.training.callbacks.EMA": "src.training.ema.EMA",
}


def current_target(target: str) -> str:
    """The path today of a `_target_`; what never moved is returned as it is."""
    module, dot, name = target.rpartition(".")
    return MOVED_CLASSES.get(target) or f"{MOVED_MODULES.get(module, module)}{dot}{name}"


def import_path(target: str) -> str:
    """Where a `_target_` is imported from: one of src from the package that this is installed as."""
    return f"{PACKAGE}{target[3:]}" if target.startswith("src.") else target


def with_import_paths(config: Any) -> Any:
    """A config of plain values with the `import_path` of every `_target_` in it, at any depth."""
    return _map_targets(config, import_path)


def with_current_targets(config: Any) -> Any:
    """A config of plain values with every `_target_` in it, at any depth, brought up to date."""
    return _map_targets(config, current_target)


def _map_targets(config: Any, change: Callable[[str], str]) -> Any:
    if isinstance(config, dict):
        return {
            key: change(value) if key == "_target_" and isinstance(value, str) else _map_targets(value, change)
            for key, value in config.items()
        }
    return [_map_targets(value, change) for value in config] if isinstance(config, list) else config
