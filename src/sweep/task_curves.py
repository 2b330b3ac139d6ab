"""What many runs knew after each task: a line per configuration, with a band where it has several seeds."""

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from src.plotting import QUIET, label, open_axes
from src.sweep.comparison import Comparison, Configuration, mean_and_sd, values_text
from src.sweep.learning_curves import LONGEST_NAME, MOST_DRAWN, MOST_NAMED
from src.sweep.run_records import Run
from src.sweep.table import format_metric


def known_after(run: Run, split: str) -> dict[int, float]:
    """How many tasks were learned -> the mean accuracy on them, a fraction; empty for a run without tasks."""
    matrix = (run.results.get("continual", {}).get(split) or {}).get("matrix", [])
    known = {}
    for done, row in enumerate(matrix):
        values = [value for value in row[:done] if value is not None]
        if values:
            known[done] = math.fsum(values) / len(values)
    return known


def plot_task_curves(comparison: Comparison) -> Figure | None:
    """The mean accuracy on the tasks that were learned so far, a line per configuration, its band mean ± sd; on the
    test split where a run has it. None without runs of several tasks."""
    tested = any(known_after(run, "test") for run in comparison.runs)
    split = "test" if tested else "val"
    metric = f"{split}/task_average"
    curves = [(each, [c for run in each.repetitions if len(c := known_after(run, split)) > 1])
              for each in comparison.configurations]  # fmt: skip
    curves = [(each, known) for each, known in curves if known]
    if not curves:
        return None
    curves.sort(key=lambda pair: -(mean_and_sd(pair[0].repetitions, metric)[0] or 0.0))
    figure = Figure(figsize=(7, 4.2 + 0.2 * min(len(curves), MOST_NAMED)), layout="constrained")
    axes = figure.subplots()
    palette = matplotlib.colormaps["tab10"].colors
    for rank, (configuration, known) in reversed(list(enumerate(curves[:MOST_DRAWN]))):
        tasks = sorted(set.intersection(*map(set, known)))
        values = 100 * np.array([[one[done] for done in tasks] for one in known])
        mean, named = values.mean(0), rank < MOST_NAMED
        color = palette[rank] if named else QUIET
        name = label(_name(configuration, len(known), metric), LONGEST_NAME + 40) if named else None
        axes.plot(tasks, mean, color=color, lw=1.5 if named else 0.8, marker="o", ms=3, label=name, zorder=3)
        if len(known) > 1:
            sd = values.std(0, ddof=1)
            axes.fill_between(tasks, mean - sd, mean + sd, color=color, alpha=0.15, lw=0, zorder=1)
    axes.set(xlabel="tasks learned", ylabel=f"{split} accuracy on them, mean over tasks, %")
    axes.xaxis.get_major_locator().set_params(integer=True)
    band = "; band: ± standard deviation over seeds" if any(len(known) > 1 for _, known in curves) else ""
    axes.set_title(f"what is known after each task{band}", fontsize=11)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], names[::-1], loc="outside lower left", frameon=False, fontsize=9)  # best first
    open_axes(axes)
    return figure


def _name(configuration: Configuration, count: int, metric: str) -> str:
    values = values_text(configuration.values)
    name = values if 0 < len(values) <= LONGEST_NAME else f"run {_names(configuration.repetitions)}"
    mean, sd = mean_and_sd(configuration.repetitions, metric)
    return f"{name}{f' (n={count})' if count > 1 else ''}: {format_metric(mean, metric, sd)}"


def _names(runs: Sequence[Run]) -> str:
    return " ".join(run.name for run in runs[:4])
