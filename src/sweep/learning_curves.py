"""The learning curves of many runs: a line per configuration, with a band where it has several seeds or folds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.plotting import QUIET, label, open_axes
from src.sweep.comparison import Comparison, Configuration, values_text
from src.sweep.run_records import Run
from src.sweep.table import display_factor, format_metric

MOST_NAMED = 10  # configurations with a color and a name; the others are grey
MOST_DRAWN = 60
LONGEST_NAME = 60  # characters


@dataclass
class Curve:
    """A quantity by epoch, or by the tasks learned: mean and standard deviation (n - 1) over runs, as far as all of
    them got.

    epochs: (E,), or how many tasks were learned; mean: (E,), sd: (E,) or None for one run.
    """

    name: str
    epochs: np.ndarray
    mean: np.ndarray
    sd: np.ndarray | None


def axis_label(metric: str) -> str:
    """A metric with its unit."""
    return label(metric) + ", %" * (display_factor(metric) == 100)


def better_range(values: Sequence[float], mode: str, share: float, margin: float) -> tuple[float, float]:
    """Axis limits of the better share of the values: the bad ones would flatten the rest."""
    low, high = np.quantile(values, [1 - share, 1.0] if mode == "max" else [0.0, share])
    margin = margin * (high - low) or 1.0
    return low - margin, high + margin


def learning_curves(comparison: Comparison) -> list[Curve]:
    """A curve of the comparison's metric for each of the best MOST_DRAWN configurations, best first; of those without
    a finished run last.

    A configuration without a finished run has the curve of its first run that was measured.
    """
    ordered = sorted(comparison.configurations, key=lambda each: comparison.sort_key(each.mean))
    curves: list[Curve] = []
    for configuration in ordered:
        if len(curves) == MOST_DRAWN:
            break
        runs = [run for run in configuration.repetitions if run.history.get(comparison.metric)]
        if not runs:
            runs = [run for run in configuration.runs if run.history.get(comparison.metric)][:1]
        if runs:
            curves.append(_make_curve(configuration, runs, comparison.metric))
    return curves


def _make_curve(configuration: Configuration, runs: Sequence[Run], metric: str) -> Curve:
    name = curve_name(configuration, runs, metric, configuration.mean, configuration.sd)
    return average_curve(name, [dict(run.history[metric]) for run in runs])


def average_curve(name: str, histories: Sequence[Mapping[int, float]]) -> Curve:
    """The curve of one run or more, each epoch -> value."""
    epochs = sorted(set.intersection(*map(set, histories)))
    values = np.array([[history[epoch] for epoch in epochs] for history in histories])
    return Curve(name, np.array(epochs), values.mean(0), values.std(0, ddof=1) if len(histories) > 1 else None)


def curve_name(
    configuration: Configuration, runs: Sequence[Run], metric: str, mean: float | None, sd: float | None
) -> str:
    """What is special about a configuration, and its result, a mean ± sd of the metric."""
    values = values_text(configuration.values)
    name = values if 0 < len(values) <= LONGEST_NAME else f"run {' '.join(run.name for run in runs[:4])}"
    name += f" (n={len(runs)})" if len(runs) > 1 else ""
    return f"{name}: {format_metric(mean, metric, sd)}"


def draw_curves(curves: Sequence[Curve], title: str, factor: float, dots: bool = False) -> tuple[Figure, Axes]:
    """A line per curve, best first, with its band mean ± sd; the first MOST_NAMED are in the legend.

    factor: what values are multiplied by. dots: whether each value of a long line has a dot, too.
    """
    figure = Figure(figsize=(7, 4.2 + 0.2 * min(len(curves), MOST_NAMED)), layout="constrained")
    axes = figure.subplots()
    palette = matplotlib.colormaps["tab10"].colors
    for rank, curve in reversed(list(enumerate(curves))):
        named = rank < MOST_NAMED
        color = palette[rank] if named else QUIET
        mean, marker = factor * curve.mean, {"marker": "o", "ms": 3} if dots or len(curve.epochs) < 3 else {}
        name = label(curve.name, LONGEST_NAME + 40) if named else None
        axes.plot(
            curve.epochs, mean, color=color, lw=1.5 if named else 0.8, label=name, zorder=3 if named else 2, **marker
        )
        if curve.sd is not None:
            sd = factor * curve.sd
            axes.fill_between(curve.epochs, mean - sd, mean + sd, color=color, alpha=0.15, lw=0, zorder=1)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title(title, fontsize=11)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], names[::-1], loc="outside lower left", frameon=False, fontsize=9)  # best first
    open_axes(axes)
    return figure, axes


def plot_learning_curves(comparison: Comparison) -> Figure | None:
    """The metric by epoch, a line per configuration, its band mean ± sd; the best MOST_NAMED are in the legend."""
    curves = [curve for curve in learning_curves(comparison) if len(curve.epochs)]
    if not curves:
        return None
    drawn, factor = curves, display_factor(comparison.metric)
    band = "; band: ± standard deviation over seeds or folds" if any(curve.sd is not None for curve in drawn) else ""
    several = len(comparison.configurations)
    count = f"{several:,} configuration{'s' * (several != 1)}"
    shown = count if len(drawn) == several else f"the best {len(drawn)} of {count}"
    figure, axes = draw_curves(drawn, f"{shown}{band}", factor)
    values = np.concatenate([factor * curve.mean for curve in drawn])
    axes.set(
        xlabel="epoch", ylabel=axis_label(comparison.metric), ylim=better_range(values, comparison.mode, 0.95, 0.1)
    )
    return figure
