"""Figures of many runs: the metric against each parameter, parallel coordinates, a search; and their files."""

import logging
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.plotting import QUIET, RIGHT, WRONG, display_width, label, open_axes
from src.sweep.comparison import AMOUNT_KEYS, MISSING, Comparison, to_amount
from src.sweep.learning_curves import axis_label, better_range, plot_learning_curves
from src.sweep.run_records import Run
from src.sweep.study import SearchSummary
from src.sweep.table import display_factor
from src.sweep.task_curves import plot_task_curves

MOST_LINES = 500  # runs that a figure has a line of
MAX_CATEGORIES = 6  # up to so many repeated values of a number are drawn as categories
Colors = dict[str, tuple[float, float, float, float]]


def write_sweep_figures(comparison: Comparison, folder: Path, search: SearchSummary | None = None) -> list[str]:
    """Write PNG and PDF files into `folder`; their names, without the suffix. No folder if there is nothing to draw."""
    scored = [run for run in comparison.runs if run.score(comparison.metric) is not None]
    keys = [key for key in comparison.configuration_keys if len({run.value(key) for run in scored}) > 1]
    texts = [str(run.value(key)) for run in scored for key in keys] + [run.name for run in scored]
    label(" ".join([comparison.metric, *keys, *texts]), most=1 << 20)  # finds the fonts before a figure is made
    ranked = sorted(scored, key=lambda run: comparison.sort_key(run.score(comparison.metric)))
    lightest_first = matplotlib.colormaps["viridis"](np.linspace(1, 0, len(ranked)))
    colors = {run.name: tuple(color) for run, color in zip(ranked, lightest_first, strict=True)}
    figures = {
        "curves": plot_learning_curves(comparison),
        "tasks": plot_task_curves(comparison),
        "parameters": plot_parameters(scored, keys, comparison.metric, colors),
        "parallel": plot_parallel_coordinates(ranked[:MOST_LINES], keys, comparison.metric, colors, len(ranked)),
    }
    if search is not None:
        figures["importance"] = plot_importance(search.importance) if search.importance else None
        figures["pareto"] = plot_pareto_front(scored, search.objectives, search.pareto_front)
        figures["history"] = plot_optimization_history(scored, comparison)
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells every table of the fonts in a PDF
    for name, figure in drawn.items():
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"{name}.png", dpi=120)
        with matplotlib.rc_context({"pdf.fonttype": 42}):  # outlines that journals accept and editors change
            figure.savefig(folder / f"{name}.pdf")
    return list(drawn)


def _suits_log_scale(values: Sequence[float]) -> bool:
    """Whether a logarithmic axis spreads values better: they span a factor of 20, and most are near the low end."""
    return min(values) > 0 and max(values) / min(values) >= 20 and statistics.median(values) < 0.3 * max(values)


# Each figure takes runs that have a score. colors: run name -> color, best first.


def _to_numbers(values: Sequence[str | float]) -> list[float] | None:
    """The values that are not MISSING as finite numbers; None if one is no number or all are missing."""
    try:
        numbers = [float(value) for value in values if value != MISSING]
    except ValueError:
        return None
    return numbers if numbers and all(map(math.isfinite, numbers)) else None


def plot_parameters(scored: Sequence[Run], keys: Sequence[str], metric: str, colors: Colors) -> Figure | None:
    """The metric against each parameter: a point per run, and the mean of each category, or for each amount of data."""
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
        if key in AMOUNT_KEYS and numbers is not None:
            _plot_amounts(axes, list(zip(map(float, values), scores, run_colors, strict=True)))
        elif numbers is not None and (distinct > MAX_CATEGORIES or distinct == len(values)):
            axes.scatter(numbers, scores, c=run_colors, s=22, edgecolor="white", lw=0.4)
            if _suits_log_scale(numbers):
                axes.set_xscale("log")
        else:
            names = list(dict.fromkeys(values)) if numbers is None else sorted(set(values), key=float)
            names = sorted(names, key=to_amount) if key in AMOUNT_KEYS else names
            _plot_categories(axes, names, list(zip(values, scores, run_colors, strict=True)))
        axes.set(xlabel=label(key), ylabel=axis_label(metric) if index % columns == 0 else "")
        open_axes(axes)
    return figure


def _plot_amounts(axes: Axes, points: Sequence[tuple[float, float, tuple]]) -> None:
    """A point per run at its amount of data, and a line through the means; logarithmic from a factor of ten."""
    amounts = sorted({amount for amount, _, _ in points})
    axes.scatter(*zip(*((amount, score) for amount, score, _ in points), strict=True), c=[c for *_, c in points], s=22)
    means = [np.mean([score for amount, score, _ in points if amount == each]) for each in amounts]
    axes.plot(amounts, means, color=WRONG, lw=1.5, zorder=0)
    if amounts[-1] >= 10 * amounts[0]:
        axes.set_xscale("log")
    axes.set_xticks(amounts, [f"{amount:g}" for amount in amounts])
    axes.minorticks_off()


def _plot_categories(axes: Axes, names: Sequence[str], points: Sequence[tuple[str, float, tuple]]) -> None:
    for position, name in enumerate(names):
        scores = [score for value, score, _ in points if value == name]
        colors = [color for value, _, color in points if value == name]
        offsets = np.linspace(-0.15, 0.15, len(scores)) if len(scores) > 1 else np.zeros(1)
        axes.scatter(position + offsets, scores, c=colors, s=22, edgecolor="white", lw=0.4)
        axes.hlines(np.mean(scores), position - 0.3, position + 0.3, color=WRONG, lw=1.5)
    labels = [label(name, 24) for name in names]
    long = max(map(display_width, labels)) > 8 or len(labels) > 5
    axes.set_xticks(range(len(labels)), labels, rotation=30 if long else 0, ha="right" if long else "center")
    axes.margins(x=0.15)


def plot_parallel_coordinates(
    scored: Sequence[Run], keys: Sequence[str], metric: str, colors: Colors, count: int
) -> Figure | None:
    """A line per run through its parameters to its score; scored are the best of `count` runs."""
    if len(keys) < 2 or len(scored) < 2:
        return None
    figure = Figure(figsize=(1.7 * (len(keys) + 1) + 1, 4.2), layout="constrained")
    axes = figure.subplots()
    scaled = [_scale([run.value(key, MISSING) for run in scored]) for key in keys]
    scaled.append(_scale([display_factor(metric) * run.score(metric) for run in scored], allow_log=False))
    for index, (_, ticks) in enumerate(scaled):
        axes.axvline(index, color=QUIET, lw=0.8, zorder=0)
        for text, height in ticks:
            axes.annotate(
                label(text, 24), (index, height), (3, 3), textcoords="offset points", fontsize=8,
                bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
    heights = np.stack([column for column, _ in scaled], 1)
    lines = {run.name: line for run, line in zip(scored, heights, strict=True)}
    best = next(iter(colors))
    for name in [name for name in reversed(colors) if name in lines]:
        style = {"lw": 2.5} if name == best else {"lw": 1.1, "alpha": 0.7}
        axes.plot(lines[name], color=colors[name], **style)
    ticks = [*map(label, keys), axis_label(metric)]
    axes.set_xticks(range(len(keys) + 1), ticks, rotation=15, ha="center", fontsize=9)
    axes.set(yticks=[], xlim=(-0.1, len(keys) + 0.4))
    axes.spines[:].set_visible(False)
    shown = f"{count:,} runs" if len(scored) == count else f"the best {len(scored)} of {count:,} runs"
    axes.set_title(f"{shown}; lighter is better", fontsize=11)
    return figure


def _scale(values: Sequence[str | float], allow_log: bool = True) -> tuple[np.ndarray, list[tuple[str, float]]]:
    """Heights from 0 to 1 and ticks (text, height): the two ends of numbers, every category."""
    numbers = _to_numbers(values)
    if numbers is not None and len(numbers) == len(values):
        scale = np.log10 if allow_log and _suits_log_scale(numbers) else np.asarray
        low, high = scale(min(numbers)), scale(max(numbers))
        ticks = [(f"{min(numbers):.4g}", 0.0), (f"{max(numbers):.4g}", 1.0)]
        return (scale(np.array(numbers)) - low) / (high - low or 1), ticks
    names = list(dict.fromkeys(map(str, values)))
    heights = {name: position / max(1, len(names) - 1) for position, name in enumerate(names)}
    return np.array([heights[str(value)] for value in values]), list(heights.items())


def plot_optimization_history(scored: Sequence[Run], comparison: Comparison) -> Figure | None:
    """The metric of each trial by its number, and the best so far."""
    if len(scored) < 2:
        return None
    values = display_factor(comparison.metric) * np.array([run.score(comparison.metric) for run in scored])
    finished = np.array([run.state == "finished" for run in scored])
    best = (np.maximum if comparison.mode == "max" else np.minimum).accumulate(values)
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    numbers = np.array([int(run.name) if run.name.isdigit() else index for index, run in enumerate(scored)])
    axes.plot(numbers[finished], values[finished], "o", ms=4, color=QUIET, label="trial")
    if not finished.all():
        axes.plot(numbers[~finished], values[~finished], "x", ms=4, color=WRONG, label="pruned")
    axes.step(numbers, best, where="post", color=RIGHT, label="best so far")
    limits = better_range(values, comparison.mode, 0.75, 0.15)
    axes.set(xlabel="trial", ylabel=axis_label(comparison.metric), ylim=limits)
    axes.legend(frameon=False)
    open_axes(axes)
    return figure


def plot_importance(importance: dict[str, float]) -> Figure:
    """The share of the metric's variation that each parameter explains."""
    names = sorted(importance, key=importance.get)
    shares = [100 * importance[name] for name in names]
    figure = Figure(figsize=(6, 0.4 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.bar_label(axes.barh(range(len(names)), shares, color=RIGHT), fmt="%.0f %%", padding=4)
    axes.set_yticks(range(len(names)), map(label, names))
    axes.set(xlabel="share of the variation explained, %", xlim=(0, 1.15 * max(shares)))
    open_axes(axes)
    return figure


def plot_pareto_front(scored: Sequence[Run], objectives: Sequence[str], front: Sequence[str]) -> Figure | None:
    """The first two objectives of each trial; the Pareto front of exactly two is a line."""
    if len(objectives) < 2:
        return None
    y_metric, x_metric = objectives[:2]
    points = {
        run.name: (display_factor(x_metric) * run.score(x_metric), display_factor(y_metric) * run.score(y_metric))
        for run in scored
        if run.score(x_metric) is not None and run.score(y_metric) is not None
    }
    if not points:
        return None
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*points.values(), strict=True), "o", ms=4, color=QUIET, label="trial")
    best = {name: points[name] for name in front if name in points}
    if best and len(objectives) == 2:
        line = zip(*sorted(best.values()), strict=True)
        axes.step(*line, "o-", where="post", ms=5, color=RIGHT, label="Pareto front")
    elif best:
        of_all = f"Pareto front of all {len(objectives)}"
        axes.plot(*zip(*best.values(), strict=True), "o", ms=5, color=RIGHT, label=of_all)
    for name, point in best.items():
        axes.annotate(f"#{label(name)}", point, (4, 4), textcoords="offset points", fontsize=8)
    if _suits_log_scale([x for x, _ in points.values()]):
        axes.set_xscale("log")
    axes.set(xlabel=axis_label(x_metric), ylabel=axis_label(y_metric))
    axes.legend(frameon=False, loc="lower right")
    open_axes(axes)
    return figure
