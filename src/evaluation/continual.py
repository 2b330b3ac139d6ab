"""What was learned of each task, and what was forgotten of it, from a matrix of accuracies.

Row i of a matrix is measured after i tasks, row 0 before the first; column j is task j. (T + 1, T), fractions. A run
that was cut short has fewer rows; one that begins with a network that has learned some tasks has None in those before.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src.files import write_text
from src.plotting import text_table

Matrix = Sequence[Sequence[float | None]]


def task_accuracies(logits: Tensor, labels: Tensor, tasks: Tensor, count: int) -> list[float | None]:
    """The accuracy on each of `count` tasks; None for a task without images. logits (N, K), labels and tasks (N,)."""
    right = (logits.argmax(1) == labels).float()
    return [float(right[tasks == task].mean()) if bool((tasks == task).any()) else None for task in range(count)]


def as_array(matrix: Matrix) -> Tensor:
    """The matrix as float64, nan where a task has no images."""
    return torch.tensor([[float("nan") if value is None else value for value in row] for row in matrix]).double()


def first_row(matrix: Matrix) -> int:
    """The first row that was measured: as many tasks were learned before the run."""
    return next((done for done, row in enumerate(matrix) if any(value is not None for value in row)), 0)


def measured_rows(matrix: Matrix) -> list[tuple[int, Sequence[float | None]]]:
    """How many tasks were learned, and the accuracies then, of the rows that were measured."""
    return list(enumerate(matrix))[first_row(matrix) :]


def summarize_tasks(matrix: Matrix) -> dict[str, float | None]:
    """Means over the tasks of a matrix that were learned, as fractions; None without any.

    average: accuracy after the last task. learned: accuracy on each task right after it, or, where it was learned
    before the run, as the run begins. forgetting: what was lost
    since then, of all tasks but the last; forgetting_max: since the best so far (Chaudhry et al. 2018,
    arXiv:1801.10112). backward_transfer: -forgetting. forward_transfer: accuracy on a task before it is learned, less
    that of the network before the first, of all tasks but the first (Lopez-Paz & Ranzato 2017, arXiv:1706.08840).
    """
    learned_tasks, first = len(matrix) - 1, first_row(matrix)
    values = as_array(matrix)[:, :learned_tasks]
    columns = torch.arange(learned_tasks)
    final, learned = values[-1], values[(columns + 1).clamp_min(first), columns]
    best = values[1:].nan_to_num(-1).max(0).values if learned_tasks else learned
    rows = torch.arange(1, max(1, learned_tasks))
    forward = values[rows, rows] - values[0, rows]
    means = {
        "average": final,
        "learned": learned,
        "forgetting": (learned - final)[:-1],
        "forgetting_max": (best - final)[:-1],
        "backward_transfer": (final - learned)[:-1],
        "forward_transfer": forward,
    }
    return {name: None if part.isnan().all() else float(part.nanmean()) for name, part in means.items()}


def matrix_table(matrix: Matrix, names: Sequence[str]) -> str:
    """The matrix in percent, as lines for a terminal; accuracies on tasks that are not learned yet in brackets."""
    header = ["after", *(f"{number + 1}" for number in range(len(names)))]
    rows = [header]
    for done, row in measured_rows(matrix):
        cells = ["–" if value is None else f"{100 * value:.1f}" for value in row]
        rows.append([f"{done}" if done else "none", *(c if n < done else f"({c})" for n, c in enumerate(cells))])
    numbers = tuple(range(1, len(names) + 1))
    named = "; ".join(f"{number} {name}" for number, name in enumerate(names, 1))
    return f"{text_table(rows, right=numbers, gap='  ')}\ntasks: {named}"


def summary_line(summary: Mapping[str, Any]) -> str:
    """The summary in one sentence."""
    told = {key: "–" if value is None else f"{100 * value:.2f}" for key, value in summary.items() if key != "matrix"}
    return (
        f"average accuracy {told['average']} %; forgetting {told['forgetting']} points since each task was learned, "
        f"{told['forgetting_max']} since its best; forward transfer {told['forward_transfer']} points"
    )


def matrix_csv(matrix: Matrix, names: Sequence[str]) -> str:
    """One line for each row: how many tasks were learned, then the accuracy on each."""
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    lines = [",".join(["tasks", *quoted])]
    return "\n".join([*lines, *(",".join([str(done), *map(_cell, row)]) for done, row in measured_rows(matrix))]) + "\n"


def tasks_report(result: Mapping[str, Any]) -> str:
    """The matrix of the test split, or without it of validation, and its summary, as lines for a terminal."""
    split = "test" if "test" in result else "val"
    measured = result[split]
    told = ", told the task of each image" if result["reading"] == "task" else ""
    learned, count = len(measured["matrix"]) - 1, len(result["tasks"])
    told += f"; the run ended after {learned} of {count} tasks, of which the averages are" * (learned < count)
    title = f"{split} accuracy after each task (rows) on each task (columns){told}, %"
    return f"{title}\n{matrix_table(measured['matrix'], result['tasks'])}\n{summary_line(measured)}"


def task_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """What a table of runs can show of a summary: task_average, forgetting, ...; nothing of a run that was cut short,
    whose means are over fewer tasks."""
    matrix = summary.get("matrix", [])
    if matrix and len(matrix) - 1 < len(matrix[0]):
        return {}
    named = {"task_average" if name == "average" else name: value for name, value in summary.items()}
    return {name: value for name, value in named.items() if isinstance(value, float)}


def write_task_results(folder: Path, result: Mapping[str, Any], figures: bool) -> None:
    """The matrices as tasks_val.csv and tasks_test.csv in `folder`, and as a picture if there are to be figures."""
    for split in ("val", "test"):
        if split in result:
            write_text(folder / f"tasks_{split}.csv", matrix_csv(result[split]["matrix"], result["tasks"]))
    measured = result["test" if "test" in result else "val"]["matrix"]
    if figures and len(measured) > 1:
        from src.evaluation.task_figures import draw_tasks  # matplotlib

        split = "test" if "test" in result else "val"
        (folder / "figures").mkdir(exist_ok=True)
        draw_tasks(measured, result["tasks"], split).savefig(folder / "figures" / "tasks.png", dpi=130)


def _cell(value: float | None) -> str:
    return "" if value is None else repr(value)
