"""What the pictures of many runs have in common."""

import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes

from src.sweep.table import RATES


def tidy(axes: Axes) -> None:
    """Leave out the frame's upper and right lines."""
    axes.spines[["top", "right"]].set_visible(False)


def in_per_cent(metric: str) -> float:
    """What a metric is multiplied by to be shown: 100 for rates."""
    return 100.0 if metric.rpartition("/")[2] in RATES else 1.0


def label(metric: str) -> str:
    """A metric's name on an axis."""
    return f"{metric}, %" if in_per_cent(metric) == 100 else metric


def is_logarithmic(numbers: Sequence[float]) -> bool:
    """Whether a logarithmic axis shows numbers better: they span much, and most are near the low end."""
    return min(numbers) > 0 and max(numbers) / min(numbers) >= 20 and statistics.median(numbers) < 0.3 * max(numbers)
