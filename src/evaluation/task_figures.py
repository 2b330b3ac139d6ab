"""Pictures of continual learning: the matrix of accuracies, and each task's accuracy as later ones are learned."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from src.plotting import class_labels, open_axes

MANY_TASKS = 12  # above which numbers are left out of the matrix
UNLEARNED = "0.3"  # grey of the accuracies on tasks that are not learned yet


def draw_tasks(matrix: Sequence[Sequence[float | None]], names: Sequence[str], split: str) -> Figure:
    """The accuracies (T + 1, T) as a heat map, tasks that are not learned yet pale, and as a curve per task.

    None is a task without images. A run that was cut short has fewer rows, but two at least.
    """
    values = 100 * np.array(matrix, dtype=float)
    first = int(np.argmax(~np.isnan(values).all(1)))  # tasks that were learned before the run
    learned_tasks, count, labels = len(matrix) - 1, len(names), class_labels(names, 14, first=1)
    values, steps = values[first:], np.arange(first, len(matrix))
    figure = Figure(figsize=(11.5, max(4.2, 0.42 * count + 1.6)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    learned = np.arange(count) < steps[:, None]
    left.imshow(values, cmap="Blues", vmin=0, vmax=130, aspect="auto", alpha=np.where(learned, 1.0, 0.35))
    for (row, column), value in np.ndenumerate(values) if count <= MANY_TASKS else ():
        if np.isnan(value):
            continue
        color = UNLEARNED if not learned[row, column] else "white" if value > 75 else "black"
        left.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=8, color=color)
    left.set_xticks(range(count), labels, fontsize=8, rotation=0 if max(map(len, labels)) < 7 else 30)
    left.set_yticks(range(len(values)), [f"after {number}" if number else "before" for number in steps], fontsize=8)
    left.set_title(f"{split} accuracy on each task, %", fontsize=10, loc="left")
    left.spines[:].set_visible(False)
    left.tick_params(length=0)
    open_axes(right)
    colors = _colors(count)
    for task in range(learned_tasks):
        known = steps > task
        right.plot(steps[known], values[known, task], color=colors[task], marker="o", ms=3.5, lw=1.6)
    for task, height in enumerate(_spread(values[-1, :learned_tasks], min(4.5, 100 / count))):
        right.annotate(
            labels[task], (learned_tasks, values[-1, task]), (learned_tasks + 0.18, height), va="center", fontsize=8,
            color=colors[task],
        )  # fmt: skip
    some = steps[steps > 0]
    mean = [np.nanmean(values[done - first, :done]) for done in some]
    right.plot(some, mean, color="black", lw=2.2, ls="--")
    right.set(xlabel="tasks learned", ylim=(-2, 102), xlim=(some[0] - 0.3, count + 0.6 + 0.08 * count))
    right.set_xticks(some)
    right.set_title("each task's accuracy from when it is learned; dashed: their mean", fontsize=10, loc="left")
    return figure


def _colors(count: int) -> np.ndarray:
    from matplotlib import colormaps

    return colormaps["viridis"](np.linspace(0.05, 0.85, count))


def _spread(heights: np.ndarray, least: float) -> np.ndarray:
    """Heights from 0 to 100, moved apart so that two are at least `least` apart, their order kept."""
    order = np.argsort(np.nan_to_num(heights), kind="stable")
    placed = np.nan_to_num(heights)[order].copy()
    for _ in range(100):
        gaps = np.diff(placed)
        close = np.flatnonzero(gaps < least - 1e-6)
        for at in close:
            push = (least - (placed[at + 1] - placed[at])) / 2
            placed[at] -= max(0.0, push)
            placed[at + 1] += max(0.0, push)
        if not len(close):
            break
    ranks = np.arange(len(placed))
    placed = np.maximum(placed, least * ranks)
    placed = np.minimum(placed, 100 - least * ranks[::-1])
    result = np.empty_like(placed)
    result[order] = placed
    return result
