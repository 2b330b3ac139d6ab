"""A search as pictures: the way to its best trial, what mattered, what was traded for what."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from src.plotting import QUIET, RIGHT, WRONG
from src.sweep.plot_axes import in_per_cent, is_logarithmic, label, tidy
from src.sweep.run_records import Run
from src.sweep.table import Comparison


def search_pictures(
    scored: Sequence[Run],
    comparison: Comparison,
    importance: dict[str, float],
    objectives: Sequence[str],
    front: Sequence[str],
) -> dict[str, Figure | None]:
    """Those there is something to draw for, as `write_pictures` takes them."""
    return {
        "importance": bars(importance) if importance else None,
        "pareto": pareto(scored, objectives, front) if len(objectives) > 1 else None,
        "history": history(scored, comparison),
    }


def history(scored: Sequence[Run], comparison: Comparison) -> Figure | None:
    """The metric of each trial in the order they were made, and the best so far."""
    if len(scored) < 2:
        return None
    factor = in_per_cent(comparison.metric)
    values = np.array([factor * run.score(comparison.metric) for run in scored])
    whole = np.array([run.state == "finished" for run in scored])
    best = (np.maximum if comparison.mode == "max" else np.minimum).accumulate(values)
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    places = np.array([int(run.name) if run.name.isdigit() else place for place, run in enumerate(scored)])
    axes.plot(places[whole], values[whole], "o", ms=4, color=QUIET, label="a trial")
    if not whole.all():
        axes.plot(places[~whole], values[~whole], "x", ms=4, color=WRONG, label="pruned")
    axes.step(places, best, where="post", color=RIGHT, label="best so far")
    axes.set_ylim(*_focus(values, comparison.mode))
    axes.set_xlabel("trial")
    axes.set_ylabel(label(comparison.metric))
    axes.legend(frameon=False)
    tidy(axes)
    return figure


def _focus(values: np.ndarray, mode: str) -> tuple[float, float]:
    """The range of the better three quarters, so that failures do not flatten the rest."""
    low, high = np.quantile(values, [0.25, 1.0] if mode == "max" else [0.0, 0.75])
    room = 0.15 * (high - low) or 1.0
    return low - room, high + room


def bars(importance: dict[str, float]) -> Figure:
    """How much of the metric's variation each parameter explains."""
    names = sorted(importance, key=importance.get)
    figure = Figure(figsize=(6, 0.4 * len(names) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(names, [100 * importance[name] for name in names], color=RIGHT)
    for place, name in enumerate(names):
        axes.annotate(
            f"{100 * importance[name]:.0f} %", (100 * importance[name], place), (4, -3), textcoords="offset points"
        )
    axes.set_xlabel("share of the variation explained, %")
    axes.set_xlim(0, 115 * max(importance.values()))
    tidy(axes)
    return figure


def pareto(scored: Sequence[Run], objectives: Sequence[str], front: Sequence[str]) -> Figure | None:
    """Two figures that were searched together; the runs that none beats in both are joined."""
    across, up = objectives[1], objectives[0]
    chosen = [run for run in scored if run.score(across) is not None and run.score(up) is not None]
    if not chosen:
        return None
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    points = {run.name: (in_per_cent(across) * run.score(across), in_per_cent(up) * run.score(up)) for run in chosen}
    axes.plot(*zip(*points.values(), strict=True), "o", ms=4, color=QUIET, label="a trial")
    best = sorted(points[name] for name in front if name in points)
    if best and len(objectives) == 2:
        axes.step(*zip(*best, strict=True), "o-", where="post", ms=5, color=RIGHT, label="none is better in both")
    elif best:
        axes.plot(*zip(*best, strict=True), "o", ms=5, color=RIGHT, label=f"none is better in all {len(objectives)}")
    if best:
        for name in front:
            if name in points:
                axes.annotate(f"#{name}", points[name], (4, 4), textcoords="offset points", fontsize=8)
    if is_logarithmic([x for x, _ in points.values()]):
        axes.set_xscale("log")
    axes.set_xlabel(label(across))
    axes.set_ylabel(label(up))
    axes.legend(frameon=False, loc="lower right")
    tidy(axes)
    return figure
