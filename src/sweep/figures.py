"""Figures of many runs: learning curves, the metric against each parameter, parallel coordinates."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.plotting import QUIET, WRONG, open_axes
from src.sweep.plot_axes import axis_label, display_factor, suits_log_scale
from src.sweep.run_records import Run
from src.sweep.search_figures import plot_search
from src.sweep.study import SearchSummary
from src.sweep.table import MISSING, Comparison

MAX_CURVES = 60
MAX_CATEGORIES = 6  # up to so many repeated values of a number are drawn as categories
COLORMAP = matplotlib.colormaps["viridis"]
Colors = dict[str, tuple[float, float, float, float]]


def write_sweep_figures(comparison: Comparison, folder: Path, search: SearchSummary | None = None) -> list[str]:
    """Write PNG files into `folder`; their names, without the suffix. No folder if there is nothing to draw."""
    scored = [run for run in comparison.runs if run.score(comparison.metric) is not None]
    keys = [key for key in comparison.configuration_keys if len({run.value(key) for run in scored}) > 1]
    ranked = sorted(scored, key=lambda run: comparison.sort_key(run.score(comparison.metric)))
    # The better the rank, the lighter the color.
    colors = {run.name: COLORMAP(1 - rank / max(1, len(ranked) - 1)) for rank, run in enumerate(ranked)}
    figures = {
        "curves": plot_learning_curves(ranked, comparison, colors),
        "parameters": plot_parameters(scored, keys, comparison.metric, colors),
        "parallel": plot_parallel_coordinates(scored, keys, comparison.metric, colors),
        **(plot_search(scored, comparison, search) if search is not None else {}),
    }
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    if drawn:
        folder.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png", dpi=120)
    return list(drawn)


# Each figure takes runs that have a score. colors: run name -> color, best first.


def plot_learning_curves(ranked: Sequence[Run], comparison: Comparison, colors: Colors) -> Figure | None:
    """The metric by epoch, a line per run; at most the best MAX_CURVES."""
    metric = comparison.metric
    runs = [run for run in ranked if run.history.get(metric)]
    if not runs:
        return None
    drawn = runs[:MAX_CURVES]
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    factor = display_factor(metric)
    for run in reversed(drawn):
        epochs, values = zip(*run.history[metric], strict=True)
        style = {"marker": "o", "ms": 3} if len(epochs) < 3 else {}
        axes.plot(epochs, [factor * value for value in values], color=colors[run.name], lw=1.2, alpha=0.9, **style)
    values = np.array([factor * value for run in drawn for _, value in run.history[metric]])
    low, high = np.quantile(values, [0.05, 1.0] if comparison.mode == "max" else [0.0, 0.95])
    margin = 0.05 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)  # the first epochs of poor runs would flatten all others
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("epoch")
    axes.set_ylabel(axis_label(metric))
    title = f"{len(drawn)} runs" if len(drawn) == len(runs) else f"the best {len(drawn)} of {len(runs)} runs"
    axes.set_title(f"{title}; lighter is better; best: {runs[0].name}", fontsize=11)
    open_axes(axes)
    return figure


def _to_numbers(values: Sequence[str | float]) -> list[float] | None:
    """The values that are not MISSING as finite numbers; None if one is no number or all are missing."""
    try:
        numbers = [float(value) for value in values if value != MISSING]
    except ValueError:
        return None
    return numbers if numbers and all(map(math.isfinite, numbers)) else None


def plot_parameters(scored: Sequence[Run], keys: Sequence[str], metric: str, colors: Colors) -> Figure | None:
    """The metric against each parameter: a point per run, a bar for the mean of each category."""
    if not keys:
        return None
    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(3.6 * columns + 0.4, 3.1 * rows), layout="constrained")
    for index, key in enumerate(keys):
        axes = figure.add_subplot(rows, columns, index + 1)
        runs = [run for run in scored if run.value(key) is not None]
        values = [run.value(key) for run in runs]
        scores = [display_factor(metric) * run.score(metric) for run in runs]
        run_colors = [colors[run.name] for run in runs]
        numbers, distinct = _to_numbers(values), len(set(values))
        if numbers is not None and (distinct > MAX_CATEGORIES or distinct == len(values)):
            axes.scatter(numbers, scores, c=run_colors, s=22, edgecolor="white", lw=0.4)
            if suits_log_scale(numbers):
                axes.set_xscale("log")
        else:
            names = list(dict.fromkeys(values)) if numbers is None else sorted(set(values), key=float)
            _plot_categories(axes, names, list(zip(values, scores, run_colors, strict=True)))
        axes.set_xlabel(key)
        axes.set_ylabel(axis_label(metric) if index % columns == 0 else "")
        open_axes(axes)
    return figure


def _plot_categories(axes: Axes, names: Sequence[str], points: Sequence[tuple[str, float, tuple]]) -> None:
    """Points (category, score, color) side by side, and the mean of each category."""
    for position, name in enumerate(names):
        scores = [score for value, score, _ in points if value == name]
        colors = [color for value, _, color in points if value == name]
        offsets = np.linspace(-0.15, 0.15, len(scores)) if len(scores) > 1 else np.zeros(1)
        axes.scatter(position + offsets, scores, c=colors, s=22, edgecolor="white", lw=0.4)
        axes.hlines(np.mean(scores), position - 0.3, position + 0.3, color=WRONG, lw=1.5)
    long = max(map(len, names)) > 8 or len(names) > 5
    axes.set_xticks(range(len(names)), names, rotation=30 if long else 0, ha="right" if long else "center")
    axes.margins(x=0.15)


def plot_parallel_coordinates(scored: Sequence[Run], keys: Sequence[str], metric: str, colors: Colors) -> Figure | None:
    """A line per run through its parameters to its score."""
    if len(keys) < 2 or len(scored) < 2:
        return None
    figure = Figure(figsize=(1.7 * (len(keys) + 1) + 1, 4.2), layout="constrained")
    axes = figure.add_subplot()
    columns = [[MISSING if run.value(key) is None else run.value(key) for run in scored] for key in keys]
    scaled = [_scale(values) for values in columns]
    scaled.append(_scale([display_factor(metric) * run.score(metric) for run in scored], allow_log=False))
    for index, (_, ticks) in enumerate(scaled):
        axes.axvline(index, color=QUIET, lw=0.8, zorder=0)
        for text, height in ticks:
            axes.annotate(
                text, (index, height), (3, 3), textcoords="offset points", fontsize=8,
                bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
    heights = np.stack([column for column, _ in scaled], 1)
    lines = {run.name: line for run, line in zip(scored, heights, strict=True)}
    best = next(iter(colors))
    for name in reversed(colors):
        style = {"lw": 2.5} if name == best else {"lw": 1.1, "alpha": 0.7}
        axes.plot(lines[name], color=colors[name], **style)
    axes.set_xticks(range(len(keys) + 1), [*keys, axis_label(metric)], rotation=15, ha="center", fontsize=9)
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(keys) + 0.4)
    axes.spines[:].set_visible(False)
    axes.set_title(f"{len(scored)} runs; lighter is better", fontsize=11)
    return figure


def _scale(values: Sequence[str | float], allow_log: bool = True) -> tuple[np.ndarray, list[tuple[str, float]]]:
    """Heights from 0 to 1 and ticks (text, height): the two ends of numbers, every category."""
    numbers = _to_numbers(values)
    if numbers is not None and len(numbers) == len(values):
        scale = np.log10 if allow_log and suits_log_scale(numbers) else np.asarray
        low, high = scale(min(numbers)), scale(max(numbers))
        ticks = [(f"{min(numbers):.4g}", 0.0), (f"{max(numbers):.4g}", 1.0)]
        return (scale(np.array(numbers)) - low) / (high - low or 1), ticks
    names = list(dict.fromkeys(map(str, values)))
    heights = {name: position / max(1, len(names) - 1) for position, name in enumerate(names)}
    return np.array([heights[str(value)] for value in values]), list(heights.items())
