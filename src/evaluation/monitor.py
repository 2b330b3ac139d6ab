"""The metric that a run is judged by, and whether more of it is better."""

from typing import Literal

from src.errors import choice

LOWER_IS_BETTER = ("loss", "ece", "mae", "rmse", "parameters", "latency_ms", "seconds")


def monitor_mode(monitor: str, mode: str = "auto") -> Literal["min", "max"]:
    """max for a metric that should rise, min for one that should fall: `mode`, or by its name if that is auto.

    Raises InputError for any other mode.
    """
    choice("mode", mode, ("auto", "min", "max"))
    minimize = mode == "min" or (mode == "auto" and monitor.rpartition("/")[2] in LOWER_IS_BETTER)
    return "min" if minimize else "max"
