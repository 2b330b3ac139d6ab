"""Figures of a search: optimization history, parameter importance, Pareto front."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from src.plotting import QUIET, RIGHT, WRONG, open_axes
from src.sweep.plot_axes import axis_label, display_factor, suits_log_scale
from src.sweep.run_records import Run
from src.sweep.study import SearchSummary
from src.sweep.table import Comparison


def plot_search(scored: Sequence[Run], comparison: Comparison, search: SearchSummary) -> dict[str, Figure | None]:
    """The figures by name; None where there is nothing to draw."""
    several = len(search.objectives) > 1
    return {
        "importance": plot_importance(search.importance) if search.importance else None,
        "pareto": plot_pareto_front(scored, search.objectives, search.pareto_front) if several else None,
        "history": plot_optimization_history(scored, comparison),
    }


def plot_optimization_history(scored: Sequence[Run], comparison: Comparison) -> Figure | None:
    """The metric of each trial by its number, and the best so far."""
    if len(scored) < 2:
        return None
    factor = display_factor(comparison.metric)
    values = np.array([factor * run.score(comparison.metric) for run in scored])
    finished = np.array([run.state == "finished" for run in scored])
    best = (np.maximum if comparison.mode == "max" else np.minimum).accumulate(values)
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    numbers = np.array([int(run.name) if run.name.isdigit() else index for index, run in enumerate(scored)])
    axes.plot(numbers[finished], values[finished], "o", ms=4, color=QUIET, label="trial")
    if not finished.all():
        axes.plot(numbers[~finished], values[~finished], "x", ms=4, color=WRONG, label="pruned")
    axes.step(numbers, best, where="post", color=RIGHT, label="best so far")
    axes.set_ylim(*_better_range(values, comparison.mode))
    axes.set_xlabel("trial")
    axes.set_ylabel(axis_label(comparison.metric))
    axes.legend(frameon=False)
    open_axes(axes)
    return figure


def _better_range(values: np.ndarray, mode: str) -> tuple[float, float]:
    """Limits of the better three quarters: bad trials would flatten the rest."""
    low, high = np.quantile(values, [0.25, 1.0] if mode == "max" else [0.0, 0.75])
    margin = 0.15 * (high - low) or 1.0
    return low - margin, high + margin


def plot_importance(importance: dict[str, float]) -> Figure:
    """The share of the metric's variation that each parameter explains."""
    names = sorted(importance, key=importance.get)
    shares = [100 * importance[name] for name in names]
    figure = Figure(figsize=(6, 0.4 * len(names) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    axes.bar_label(axes.barh(names, shares, color=RIGHT), fmt="%.0f %%", padding=4)
    axes.set_xlabel("share of the variation explained, %")
    axes.set_xlim(0, 1.15 * max(shares))
    open_axes(axes)
    return figure


def plot_pareto_front(scored: Sequence[Run], objectives: Sequence[str], front: Sequence[str]) -> Figure | None:
    """The first two objectives of each trial; the Pareto front of exactly two is a line."""
    y_metric, x_metric = objectives[:2]
    points = {
        run.name: (display_factor(x_metric) * run.score(x_metric), display_factor(y_metric) * run.score(y_metric))
        for run in scored
        if run.score(x_metric) is not None and run.score(y_metric) is not None
    }
    if not points:
        return None
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*zip(*points.values(), strict=True), "o", ms=4, color=QUIET, label="trial")
    best = {name: points[name] for name in front if name in points}
    if best and len(objectives) == 2:
        axes.step(
            *zip(*sorted(best.values()), strict=True), "o-", where="post", ms=5, color=RIGHT, label="Pareto front"
        )
    elif best:
        label = f"Pareto front of all {len(objectives)}"
        axes.plot(*zip(*best.values(), strict=True), "o", ms=5, color=RIGHT, label=label)
    for name, point in best.items():
        axes.annotate(f"#{name}", point, (4, 4), textcoords="offset points", fontsize=8)
    if suits_log_scale([x for x, _ in points.values()]):
        axes.set_xscale("log")
    axes.set_xlabel(axis_label(x_metric))
    axes.set_ylabel(axis_label(y_metric))
    axes.legend(frameon=False, loc="lower right")
    open_axes(axes)
    return figure
