"""The metric that a run is judged by, and whether more of it is better."""

from typing import Literal

from src.errors import choice

# Of networks that learn one task after another (`src.evaluation.continual`).
TASK_METRICS = ("task_average", "learned", "forgetting", "forgetting_max", "backward_transfer", "forward_transfer")
RATES = ("acc", "f1", "precision", "recall", "top2", "ece", *TASK_METRICS)  # shown in per cent
LOWER_IS_BETTER = ("loss", "ece", "mae", "rmse", "parameters", "latency_ms", "seconds", "forgetting", "forgetting_max")
_declared: dict[str, bool] = {}  # of metrics that a config adds: whether less is better


def declare_metric(name: str, higher_is_better: bool | None) -> None:
    """Say of a metric that a config adds which direction is better; None leaves it to its name."""
    if higher_is_better is not None:
        _declared[name] = not higher_is_better


def monitor_mode(monitor: str, mode: str = "auto") -> Literal["min", "max"]:
    """max for a metric that should rise, min for one that should fall: `mode`; if that is auto, as declared or by name.

    Raises InputError for any other mode.
    """
    choice("mode", mode, ("auto", "min", "max"))
    name = monitor.rpartition("/")[2]
    minimize = mode == "min" or (mode == "auto" and _declared.get(name, name in LOWER_IS_BETTER))
    return "min" if minimize else "max"
