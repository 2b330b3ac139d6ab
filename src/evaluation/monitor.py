"""What a run is judged by: the metric and whether more of it is better."""

from src.errors import require

FALLING = ("loss", "ece", "mae", "rmse", "parameters", "latency_ms", "seconds")


def monitor_mode(name: str, given: str = "auto") -> str:
    """max for a metric that should rise, min for one that should fall, by its name; `given` where it is not auto.

    Raises InputError for anything but auto, min and max.
    """
    require(given in ("auto", "min", "max"), f"mode={given}: auto, min or max")
    falls = name.rpartition("/")[2] in FALLING
    return given if given != "auto" else "min" if falls else "max"


def default_monitor(target: str | None) -> str:
    """What the best epoch is chosen by where nothing else is said; target: the number that is estimated, or None."""
    return "val/mae" if target else "val/acc"
