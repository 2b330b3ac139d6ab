"""A comparison as tables: a row per run, and a row per configuration; for files, the terminal and LaTeX."""

import csv
import io
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path

from src.evaluation.monitor import RATES
from src.files import write_text
from src.plotting import text_table
from src.sweep.comparison import MISSING, Comparison, mean_and_sd
from src.sweep.latex import latex_table
from src.sweep.run_records import Run, shorten_value

MOST_ROWS = 100  # of a table in table.md; the CSV files have all
MOST_VALUES = 12  # of a key in its summary: numbers beyond are put into quarters


def run_rows(comparison: Comparison) -> list[list[str]]:
    """A header and a row per run, for files."""
    metrics = [name for name in comparison.metrics if name != "seconds"]  # a column of its own
    rows = [["run", *comparison.varied_keys, "state", *metrics, "epoch", "seconds", "error"]]
    for run in comparison.listed():
        rows.append(
            [
                run.name,
                *(run.value(key, MISSING) for key in comparison.varied_keys),
                run.state,
                *(_format_number(run.score(name)) for name in metrics),
                str(run.results.get("best_epoch") or ""),
                "" if run.seconds is None else f"{run.seconds:.1f}",
                run.error,
            ]
        )
    return rows if any(row[-1] for row in rows[1:]) else [row[:-1] for row in rows]


def configuration_rows(comparison: Comparison) -> list[list[str]]:
    """A header and a row per configuration, for files."""
    metrics = [name for name in comparison.metrics if name != "seconds"]
    columns = [column for name in metrics for column in (name, f"{name} sd")]
    rows = [[*comparison.configuration_keys, *columns, "n", "runs", "seconds"]]
    for configuration in comparison.configurations:
        numbers = chain.from_iterable(mean_and_sd(configuration.repetitions, name) for name in metrics)
        seconds = [run.seconds for run in configuration.runs if run.seconds is not None]
        rows.append(
            [
                *configuration.values.values(),
                *map(_format_number, numbers),
                str(len(configuration.scores)),
                " ".join(run.name for run in configuration.runs),
                f"{statistics.fmean(seconds):.1f}" if seconds else "",
            ]
        )
    return rows


def _format_number(value: float | None) -> str:
    return "" if value is None else f"{value:.7g}"


def display_factor(metric: str) -> float:
    """What a metric is multiplied by for display: 100 for rates."""
    return 100.0 if metric.rpartition("/")[2] in RATES else 1.0


def format_metric(value: float | None, metric: str, sd: float | None = None) -> str:
    """A metric for people: rates in per cent, counts whole, ± sd if there is one."""
    if value is None:
        return MISSING
    if display_factor(metric) == 100:
        return f"{100 * value:.2f}" + (f" ± {100 * sd:.2f}" if sd is not None else "") + " %"
    if isinstance(value, int) or (value.is_integer() and abs(value) >= 1000):
        return f"{value:,.0f}"
    return f"{value:.4g}" + (f" ± {sd:.2g}" if sd is not None else "")


def sweep_summary(comparison: Comparison, max_rows: int = 20) -> str:
    """The first `max_rows` configurations as a table for the terminal."""
    rows = _display_rows(comparison, max_rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    more = len(comparison.configurations) - max_rows
    return text_table(rows) + (f"\n... and {more} more; configurations.csv has all" if more > 0 else "")


def _display_rows(comparison: Comparison, max_rows: int | None = None) -> list[list[str]]:
    """A header and a row per configuration, for people."""
    rows = [[*comparison.configuration_keys, *comparison.metrics, "n", "runs"]]
    for configuration in comparison.configurations[:max_rows]:
        spreads = {name: mean_and_sd(configuration.repetitions, name) for name in comparison.metrics}
        rows.append(
            [
                *map(shorten_value, configuration.values.values()),
                *(format_metric(mean, name, sd) for name, (mean, sd) in spreads.items()),
                str(len(configuration.scores)),
                _list_runs(configuration.runs),
            ]
        )
    return rows


def _list_runs(runs: Sequence[Run]) -> str:
    states = Counter(sorted(run.state for run in runs if run.state != "finished"))
    unfinished = ", ".join(f"{count} {state}" for state, count in states.items())
    names = " ".join(run.name for run in runs[:6]) + (" ..." if len(runs) > 6 else "")
    return names + (f" ({unfinished})" if unfinished else "")


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A header and rows as a Markdown table."""
    head, *body = [[cell.replace("|", "\\|").replace("\n", " ") or " " for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _section(title: str, rows: Sequence[Sequence[str]]) -> str:
    count = len(rows) - 1
    cut = f"The first {MOST_ROWS} of {count:,}; {title.lower()}.csv has all.\n\n" if count > MOST_ROWS else ""
    return f"## {title}\n\n{cut}{markdown_table(rows[: MOST_ROWS + 1])}\n"


def _axes_section(comparison: Comparison) -> str:
    """A summary of each key's values, where there are more runs than a reader reads."""
    scored = [run for run in comparison.runs if run.score(comparison.metric) is not None]
    if len(scored) <= MOST_ROWS or not comparison.configuration_keys:
        return ""
    rows = [["key", "value", "runs", f"mean {comparison.metric}", "best"]]
    for key in comparison.configuration_keys:
        rows += _axis_rows(key, [(run.value(key, MISSING), run.score(comparison.metric)) for run in scored], comparison)
    return f"## Values\n\nEach value over all runs that have it.\n\n{markdown_table(rows)}\n"


def _axis_rows(key: str, pairs: Sequence[tuple[str, float]], comparison: Comparison) -> list[list[str]]:
    """A row for each value of a key, or for each quarter of the runs, in order of a key with many numbers."""
    groups: dict[str, list[float]] = {}
    for value, score in pairs:
        groups.setdefault(value, []).append(score)
    if len(groups) > MOST_VALUES and all(map(_is_real, groups)):
        ordered = sorted(pairs, key=lambda pair: float(pair[0]))
        edges = [len(ordered) * quarter // 4 for quarter in range(5)]
        parts = [ordered[first:last] for first, last in pairwise(edges)]
        groups = {
            f"{shorten_value(part[0][0])} to {shorten_value(part[-1][0])}": [score for _, score in part]
            for part in parts
        }
    best = max if comparison.mode == "max" else min
    order = sorted(groups, key=lambda value: comparison.sort_key(statistics.fmean(groups[value])))
    rows = [
        [
            key,
            value,
            str(len(groups[value])),
            *map(_format_number, (statistics.fmean(groups[value]), best(groups[value]))),
        ]
        for value in order
    ]
    return rows[:MOST_VALUES]


def _is_real(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def write_tables(comparison: Comparison, folder: Path, notes: Sequence[str] = ()) -> None:
    """Write runs.csv, configurations.csv, table.md and table.tex atomically. notes: lines between table.md's tables."""
    runs, configurations = run_rows(comparison), configuration_rows(comparison)
    for name, rows in (("runs", runs), ("configurations", configurations)):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_text(folder / f"{name}.csv", text.getvalue())
    between = "\n".join(["```", *notes, "```", "", ""]) if notes else ""
    order = ", then ".join([*comparison.amount_keys, comparison.metric])
    direction = "more" if comparison.mode == "max" else "less"
    text = (
        f"# {len(comparison.runs)} runs\n\nOrdered by {order} ({direction} is better) of each run's best "
        f"epoch; sd is the standard deviation over seeds or folds.\n\n"
        f"{_section('Configurations', configurations)}{_axes_section(comparison)}{between}{_section('Runs', runs)}"
    )
    write_text(folder / "table.md", text)
    shown = [row[:-1] for row in _display_rows(comparison, MOST_ROWS)]  # without the names of the runs
    caption = f"{len(comparison.runs)} runs by {order}; mean and standard deviation over n seeds or folds"
    write_text(folder / "table.tex", latex_table(shown, len(comparison.configuration_keys), caption))
