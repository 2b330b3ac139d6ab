"""What many runs knew after each task: a line per configuration, with a band where it has several seeds."""

import math

from matplotlib.figure import Figure

from src.sweep.comparison import Comparison, mean_and_sd
from src.sweep.learning_curves import MOST_DRAWN, MOST_NAMED, average_curve, curve_name, draw_curves
from src.sweep.run_records import Run


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
    measured = []
    for configuration in comparison.configurations:
        known = {run.name: known_after(run, split) for run in configuration.repetitions}
        runs = [run for run in configuration.repetitions if len(known[run.name]) > 1]
        if runs:
            mean, sd = mean_and_sd(runs, metric)
            name = curve_name(configuration, runs, metric, mean, sd)
            measured.append((-(mean or 0.0), average_curve(name, [known[run.name] for run in runs])))
    if not measured:
        return None
    curves = [curve for _, curve in sorted(measured, key=lambda pair: pair[0])][:MOST_DRAWN]
    band = "; band: ± standard deviation over seeds" if any(curve.sd is not None for curve in curves) else ""
    named = f", the best {MOST_NAMED} of {len(measured)} by name" if len(measured) > MOST_NAMED else ""
    figure, axes = draw_curves(curves, f"what is known after each task{named}{band}", 100, dots=True)
    axes.set(xlabel="tasks learned", ylabel=f"{split} accuracy on them, mean over tasks, %")
    return figure
