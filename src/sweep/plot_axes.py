"""Metrics on the axes of figures: units, labels, scales."""

import statistics
from collections.abc import Sequence

from src.sweep.table import RATES


def display_factor(metric: str) -> float:
    """What a metric is multiplied by for display: 100 for rates."""
    return 100.0 if metric.rpartition("/")[2] in RATES else 1.0


def axis_label(metric: str) -> str:
    """A metric's name with its unit."""
    return f"{metric}, %" if display_factor(metric) == 100 else metric


def suits_log_scale(values: Sequence[float]) -> bool:
    """Whether a logarithmic axis spreads values better: they span a factor of 20, and most are near the low end."""
    return min(values) > 0 and max(values) / min(values) >= 20 and statistics.median(values) < 0.3 * max(values)
