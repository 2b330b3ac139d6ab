"""Runs as tables: a row per run, and a row per configuration with mean and spread over its seeds or folds."""

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from src.files import write_bytes
from src.sweep.run_records import REPEATS, Run, brief, columns_of, metric_of

MISSING = "–"
RATES = ("acc", "f1", "precision", "recall", "top2", "ece")


@dataclass
class Configuration:
    """Runs that differ only by seed or fold.

    values: of the compared keys. counted: its finished runs, one per seed and fold. scores: theirs; mean and sd (over
    n - 1) of them, None where there are none, or only one.
    """

    values: dict[str, str]
    runs: list[Run]
    counted: list[Run]
    scores: list[float]

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.scores) if self.scores else None

    @property
    def sd(self) -> float | None:
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None


@dataclass
class Comparison:
    """Runs side by side, the best first.

    columns: keys by which they differ; metric: what they are ordered by; mode: max or min of it is best; beside:
    further figures that are shown.
    """

    runs: list[Run]
    columns: list[str]
    metric: str
    mode: str
    configurations: list[Configuration]
    beside: tuple[str, ...] = ()

    @property
    def best(self) -> Configuration | None:
        """The configuration with the best mean; no pruned one."""
        return next((c for c in self.configurations if c.scores), None)

    def sort_key(self, value: float | None) -> tuple[bool, float]:
        """Best first, what has no value last."""
        return (value is None, 0.0 if value is None else -value if self.mode == "max" else value)

    def ranked(self) -> list[Run]:
        """The runs, best first; those without a result last, in their own order."""
        return sorted(self.runs, key=lambda run: self.sort_key(run.score(self.metric)))

    @property
    def keys(self) -> list[str]:
        """The columns that make a configuration, without those of repetitions."""
        return [key for key in self.columns if key not in REPEATS]

    @property
    def figures(self) -> list[str]:
        """What is shown of every run: the metric, the same of the test split, and what else was asked for."""
        return [self.metric, *([self.test_metric] if self.test_metric else []), *self.beside]

    @property
    def test_metric(self) -> str | None:
        """The same metric of the test split, where a run has it."""
        name = f"test/{self.metric.rpartition('/')[2]}"
        return name if name != self.metric and any(run.score(name) is not None for run in self.runs) else None


def compare_runs(runs: Sequence[Run], metric: str | None = None, beside: Sequence[str] = ()) -> Comparison:
    """Order runs, and group those that are repetitions of one another. Raises InputError as `metric_of` does.

    beside: further figures to show; their size comes by itself where runs differ in it.
    """
    metric, mode = metric_of(runs, metric)
    columns = columns_of(runs)
    kept = [key for key in columns if key not in REPEATS]
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(run.value(key) for key in kept), []).append(run)
    if len({run.score("parameters") for run in runs} - {None}) > 1:
        beside = dict.fromkeys([*beside, "parameters"])
    comparison = Comparison(list(runs), columns, metric, mode, [], tuple(name for name in beside if name != metric))
    for values, members in groups.items():
        by_draw: dict[tuple, Run] = {}  # a run that was made twice is no repetition
        for run in members:
            if run.state == "finished" and run.score(metric) is not None:
                by_draw.setdefault(tuple(run.value(key) for key in REPEATS), run)
        counted = list(by_draw.values())
        scores = [run.score(metric) for run in counted]
        given = {key: value if value is not None else MISSING for key, value in zip(kept, values, strict=True)}
        comparison.configurations.append(Configuration(given, members, counted, scores))
    comparison.configurations.sort(key=lambda configuration: comparison.sort_key(configuration.mean))
    return comparison


def run_rows(comparison: Comparison) -> list[list[str]]:
    """A header and a row per run, for files."""
    figures = [name for name in comparison.figures if name != "seconds"]  # a column of its own
    rows = [["run", *comparison.columns, "state", *figures, "epoch", "seconds", "error"]]
    for run in comparison.ranked():
        rows.append(
            [
                run.name,
                *(value if (value := run.value(key)) is not None else MISSING for key in comparison.columns),
                run.state,
                *(_number(run.score(name)) for name in figures),
                str(run.results.get("best_epoch") or ""),
                "" if run.seconds is None else f"{run.seconds:.1f}",
                run.error,
            ]
        )
    return rows if any(row[-1] for row in rows[1:]) else [row[:-1] for row in rows]


def configuration_rows(comparison: Comparison) -> list[list[str]]:
    """A header and a row per configuration, for files."""
    figures = [name for name in comparison.figures if name != "seconds"]
    rows = [[*comparison.keys, *(part for name in figures for part in (name, f"{name} sd")), "n", "runs", "seconds"]]
    for each in comparison.configurations:
        spreads = [mean_and_sd(each, name) for name in figures]
        seconds = [run.seconds for run in each.runs if run.seconds is not None]
        rows.append(
            [
                *each.values.values(),
                *(_number(value) for pair in spreads for value in pair),
                str(len(each.scores)),
                " ".join(run.name for run in each.runs),
                f"{statistics.fmean(seconds):.1f}" if seconds else "",
            ]
        )
    return rows


def mean_and_sd(configuration: Configuration, name: str) -> tuple[float | None, float | None]:
    """Mean and standard deviation of a figure over the runs that count."""
    values = [value for run in configuration.counted if (value := run.score(name)) is not None]
    return statistics.fmean(values) if values else None, statistics.stdev(values) if len(values) > 1 else None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.7g}"


def format_metric(value: float | None, metric: str, sd: float | None = None) -> str:
    """A score as people read it: rates in per cent, with what it scatters by."""
    if value is None:
        return MISSING
    if metric.rpartition("/")[2] in RATES:
        return f"{100 * value:.2f}" + (f" ± {100 * sd:.2f}" if sd is not None else "") + " %"
    if isinstance(value, int) or (value.is_integer() and abs(value) >= 1000):
        return f"{value:,.0f}"
    return f"{value:.4g}" + (f" ± {sd:.2g}" if sd is not None else "")


def sweep_summary(comparison: Comparison, most: int = 20) -> str:
    """The configurations, best first, for a terminal: at most `most` of them."""
    rows = [[*comparison.keys, *comparison.figures, "n", "runs"]]
    for each in comparison.configurations[:most]:
        names = [run.name for run in each.runs]
        states = sorted({run.state for run in each.runs} - {"finished"})
        counts = [f"{sum(run.state == state for run in each.runs)} {state}" for state in states]
        named = " ".join(names[:6]) + (" ..." if len(names) > 6 else "")
        rows.append(
            [
                *map(brief, each.values.values()),
                *(
                    format_metric(mean, name, sd)
                    for name in comparison.figures
                    for mean, sd in (mean_and_sd(each, name),)
                ),
                str(len(each.scores)),
                named + (f" ({', '.join(counts)})" if counts else ""),
            ]
        )
    left = len(comparison.configurations) - most
    return aligned(rows) + (f"\n... and {left} more; table.md has all" if left > 0 else "")


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side for a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table as Markdown has it."""
    head, *body = [[cell.replace("|", "\\|").replace("\n", " ") or " " for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def write_tables(comparison: Comparison, folder: Path) -> None:
    """runs.csv, configurations.csv and table.md in `folder`; each is replaced whole."""
    runs, configurations = run_rows(comparison), configuration_rows(comparison)
    for name, rows in (("runs", runs), ("configurations", configurations)):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_bytes(folder / f"{name}.csv", text.getvalue().encode())
    direction = "more" if comparison.mode == "max" else "less"
    text = (
        f"# {len(comparison.runs)} runs\n\nOrdered by {comparison.metric} ({direction} is better), of each run's best "
        f"epoch; spread is the standard deviation over seeds or folds.\n\n## Configurations\n\n"
        f"{markdown(configurations)}\n## Runs\n\n{markdown(runs)}"
    )
    write_bytes(folder / "table.md", text.encode())
