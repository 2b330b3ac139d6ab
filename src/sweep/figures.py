"""Many runs as pictures: learning curves, the metric against each parameter, all parameters side by side."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from src.plotting import QUIET, WRONG
from src.sweep.plot_axes import in_per_cent, is_logarithmic, label, tidy
from src.sweep.run_records import Run
from src.sweep.search_figures import search_pictures
from src.sweep.table import MISSING, Comparison

MOST_CURVES = 60
FEW = 6  # so many values of a number are drawn as choices
COLOURS = matplotlib.colormaps["viridis"]


def write_sweep_figures(
    comparison: Comparison,
    folder: Path,
    importance: dict[str, float] | None = None,
    objectives: Sequence[str] = (),
    front: Sequence[str] = (),
) -> list[str]:
    """PNG files in `folder`. Returns their names; none where there is nothing to draw.

    importance: of each parameter, as shares. objectives: two or more figures that were searched together, and front:
    the names of the runs that none beats in all of them.
    """
    scored = [run for run in comparison.runs if run.score(comparison.metric) is not None]
    keys = comparison.keys
    figures = {
        "curves": curves(scored, comparison),
        "parameters": parameters(scored, keys, comparison),
        "parallel": parallel(scored, keys, comparison),
        **(search_pictures(scored, comparison, importance, objectives, front) if importance is not None else {}),
    }
    made = {name: figure for name, figure in figures.items() if figure is not None}
    if made:
        folder.mkdir(parents=True, exist_ok=True)
    for name, figure in made.items():
        figure.savefig(folder / f"{name}.png", dpi=120)
    return list(made)


def _colours(scored: Sequence[Run], comparison: Comparison) -> dict[str, tuple]:
    """The better a run's rank, the lighter its colour."""
    ranked = [run for run in comparison.ranked() if run in scored]
    return {run.name: COLOURS(1 - place / max(1, len(ranked) - 1)) for place, run in enumerate(ranked)}


def curves(scored: Sequence[Run], comparison: Comparison) -> Figure | None:
    """The metric by epoch, a line per run."""
    chosen = [run for run in comparison.ranked() if run in scored and run.curve.get(comparison.metric)]
    if not chosen:
        return None
    shown, colours = chosen[:MOST_CURVES], _colours(scored, comparison)
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    factor = in_per_cent(comparison.metric)
    for run in reversed(shown):
        epochs, values = zip(*run.curve[comparison.metric], strict=True)
        style = {"marker": "o", "ms": 3} if len(epochs) < 3 else {}
        axes.plot(epochs, [factor * value for value in values], color=colours[run.name], lw=1.2, alpha=0.9, **style)
    values = np.array([factor * value for run in shown for _, value in run.curve[comparison.metric]])
    low, high = np.quantile(values, [0.05, 1.0] if comparison.mode == "max" else [0.0, 0.95])
    room = 0.05 * (high - low) or 1.0
    axes.set_ylim(low - room, high + room)  # the first epochs of poor runs would press all others together
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("epoch")
    axes.set_ylabel(label(comparison.metric))
    title = f"{len(shown)} runs" if len(shown) == len(chosen) else f"the best {len(shown)} of {len(chosen)} runs"
    axes.set_title(f"{title}; the lighter the better; best: {chosen[0].name}", fontsize=11)
    tidy(axes)
    return figure


def _numbers(values: Sequence[str | None]) -> list[float] | None:
    """All of them as numbers, where they are."""
    try:
        found = [float(value) for value in values if value not in (None, MISSING)]
    except (TypeError, ValueError):
        return None
    return found if found and all(map(math.isfinite, found)) else None


def parameters(scored: Sequence[Run], keys: Sequence[str], comparison: Comparison) -> Figure | None:
    """The metric against each parameter: every run a point, means of choices as bars."""
    keys = [key for key in keys if len({run.value(key) for run in scored}) > 1]
    if not keys:
        return None
    wide = min(3, len(keys))
    high = -(-len(keys) // wide)
    figure = Figure(figsize=(3.6 * wide + 0.4, 3.1 * high), layout="constrained")
    factor, colours = in_per_cent(comparison.metric), _colours(scored, comparison)
    for place, key in enumerate(keys):
        axes = figure.add_subplot(high, wide, place + 1)
        chosen = [run for run in scored if run.value(key) is not None]
        values = [run.value(key) for run in chosen]
        scores = [factor * run.score(comparison.metric) for run in chosen]
        numbers, distinct = _numbers(values), len(set(values))
        if numbers is not None and (distinct > FEW or distinct == len(values)):
            axes.scatter(numbers, scores, c=[colours[run.name] for run in chosen], s=22, edgecolor="white", lw=0.4)
            if is_logarithmic(numbers):
                axes.set_xscale("log")
        else:
            names = list(dict.fromkeys(values)) if numbers is None else sorted(set(values), key=float)
            for position, name in enumerate(names):
                own = [score for score, value in zip(scores, values, strict=True) if value == name]
                offsets = np.linspace(-0.15, 0.15, len(own)) if len(own) > 1 else [0.0]
                marks = [colours[run.name] for run, value in zip(chosen, values, strict=True) if value == name]
                axes.scatter(position + np.asarray(offsets), own, c=marks, s=22, edgecolor="white", lw=0.4)
                axes.hlines(np.mean(own), position - 0.3, position + 0.3, color=WRONG, lw=1.5)
            long = max(map(len, names)) > 8 or len(names) > 5
            axes.set_xticks(range(len(names)), names, rotation=30 if long else 0, ha="right" if long else "center")
            axes.margins(x=0.15)
        axes.set_xlabel(key)
        axes.set_ylabel(label(comparison.metric) if place % wide == 0 else "")
        tidy(axes)
    return figure


def parallel(scored: Sequence[Run], keys: Sequence[str], comparison: Comparison) -> Figure | None:
    """Every run a line through all its parameters to its score."""
    keys = [key for key in keys if len({run.value(key) for run in scored}) > 1]
    if len(keys) < 2 or len(scored) < 2:
        return None
    factor, colours = in_per_cent(comparison.metric), _colours(scored, comparison)
    figure = Figure(figsize=(1.7 * (len(keys) + 1) + 1, 4.2), layout="constrained")
    axes = figure.add_subplot()
    heights = []
    for place, key in enumerate([*keys, comparison.metric]):
        final = place == len(keys)
        values = [factor * run.score(comparison.metric) if final else run.value(key) for run in scored]
        given = [value if value is not None else MISSING for value in values]
        numbers = _numbers(given)
        if numbers is not None and len(numbers) == len(given):
            scale = np.log10 if is_logarithmic(numbers) and not final else np.asarray
            low, high = scale(min(numbers)), scale(max(numbers))
            heights.append((scale(np.array(numbers)) - low) / (high - low or 1))
            ticks = [(0.0, f"{min(numbers):.4g}"), (1.0, f"{max(numbers):.4g}")]
        else:
            names = list(dict.fromkeys(map(str, given)))
            where = {name: position / max(1, len(names) - 1) for position, name in enumerate(names)}
            heights.append(np.array([where[str(value)] for value in given]))
            ticks = [(height, name) for name, height in where.items()]
        axes.axvline(place, color=QUIET, lw=0.8, zorder=0)
        for height, text in ticks:
            axes.annotate(
                text, (place, height), (3, 3), textcoords="offset points", fontsize=8,
                bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
    lines = np.stack(heights, 1)
    for run in [run for run in reversed(comparison.ranked()) if run in scored]:
        best = run is comparison.ranked()[0]
        axes.plot(lines[scored.index(run)], color=colours[run.name], lw=2.5 if best else 1.1, alpha=1 if best else 0.7)
    axes.set_xticks(range(len(keys) + 1), [*keys, label(comparison.metric)], rotation=15, ha="center", fontsize=9)
    axes.set_yticks([])
    axes.set_xlim(-0.1, len(keys) + 0.4)
    axes.spines[:].set_visible(False)
    axes.set_title(f"{len(scored)} runs; the lighter the better", fontsize=11)
    return figure
