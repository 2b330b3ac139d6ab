"""Runs as tables: a row per run, and a row per configuration with mean and spread over seeds or folds."""

import csv
import io
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from src.files import write_bytes
from src.plotting import text_table
from src.sweep.run_records import REPETITION_KEYS, Run, find_varied_keys, resolve_metric, shorten_value

MISSING = "–"


@dataclass
class Configuration:
    """Runs that differ only by seed or fold.

    values: of the comparison's configuration_keys. runs: all of them. repetitions: the finished ones, one per seed and
    fold. scores, mean, sd: the comparison's metric over the repetitions, as `mean_and_sd` gives them.
    """

    values: dict[str, str]
    runs: list[Run]
    repetitions: list[Run]
    scores: list[float]
    mean: float | None
    sd: float | None


@dataclass
class Comparison:
    """Runs and their configurations, ordered by a metric.

    varied_keys: overrides that differ between runs. mode: max or min of the metric is best. configurations: best first.
    extra_metrics: further columns of the tables.
    """

    runs: list[Run]
    varied_keys: list[str]
    metric: str
    mode: str
    configurations: list[Configuration]
    extra_metrics: tuple[str, ...]

    @property
    def best(self) -> Configuration | None:
        """The configuration with the best mean; pruned runs do not count."""
        return next((c for c in self.configurations if c.scores), None)

    def sort_key(self, score: float | None) -> tuple[bool, float]:
        """Sorts best first, None last."""
        return (score is None, 0.0 if score is None else -score if self.mode == "max" else score)

    def ranked(self) -> list[Run]:
        """The runs, best first; those without a result last, in their own order."""
        return sorted(self.runs, key=lambda run: self.sort_key(run.score(self.metric)))

    @property
    def configuration_keys(self) -> list[str]:
        """The varied keys without seeds and folds."""
        return [key for key in self.varied_keys if key not in REPETITION_KEYS]

    @property
    def metrics(self) -> list[str]:
        """The metric columns: the metric, the same on the test split if any run has it, and extra_metrics."""
        test_metric = f"test/{self.metric.rpartition('/')[2]}"
        tested = any(run.score(test_metric) is not None for run in self.runs)
        return list(dict.fromkeys([self.metric, *([test_metric] if tested else []), *self.extra_metrics]))


def compare_runs(runs: Sequence[Run], metric: str | None = None, extra_metrics: Sequence[str] = ()) -> Comparison:
    """Order runs and group the repetitions of each configuration. Raises InputError as `resolve_metric` does.

    extra_metrics: further columns; `parameters` is added where runs differ in it.
    """
    metric, mode = resolve_metric(runs, metric)
    if len({run.score("parameters") for run in runs} - {None}) > 1:
        extra_metrics = dict.fromkeys([*extra_metrics, "parameters"])
    extra_metrics = tuple(name for name in extra_metrics if name != metric)
    comparison = Comparison(list(runs), find_varied_keys(runs), metric, mode, [], extra_metrics)
    keys = comparison.configuration_keys
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(run.value(key, MISSING) for key in keys), []).append(run)
    for values, members in groups.items():
        repetitions: dict[tuple, Run] = {}  # the same seed and fold twice is no repetition
        for run in members:
            if run.state == "finished" and run.score(metric) is not None:
                repetitions.setdefault(tuple(run.value(key) for key in REPETITION_KEYS), run)
        counted = list(repetitions.values())
        scores = [run.score(metric) for run in counted]
        named, spread = dict(zip(keys, values, strict=True)), mean_and_sd(counted, metric)
        comparison.configurations.append(Configuration(named, members, counted, scores, *spread))
    comparison.configurations.sort(key=lambda configuration: comparison.sort_key(configuration.mean))
    return comparison


def run_rows(comparison: Comparison) -> list[list[str]]:
    """A header and a row per run, for files."""
    metrics = [name for name in comparison.metrics if name != "seconds"]  # a column of its own
    rows = [["run", *comparison.varied_keys, "state", *metrics, "epoch", "seconds", "error"]]
    for run in comparison.ranked():
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


def mean_and_sd(runs: Sequence[Run], metric: str) -> tuple[float | None, float | None]:
    """Mean and standard deviation (n - 1) of a metric over runs; None without enough of them."""
    values = [value for run in runs if (value := run.score(metric)) is not None]
    return statistics.fmean(values) if values else None, statistics.stdev(values) if len(values) > 1 else None


def _format_number(value: float | None) -> str:
    return "" if value is None else f"{value:.7g}"


def display_factor(metric: str) -> float:
    """What a metric is multiplied by for display: 100 for rates."""
    return 100.0 if metric.rpartition("/")[2] in ("acc", "f1", "precision", "recall", "top2", "ece") else 1.0


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
    """The best `max_rows` configurations as a table for the terminal."""
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
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    more = len(comparison.configurations) - max_rows
    return text_table(rows) + (f"\n... and {more} more; table.md has all" if more > 0 else "")


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


def write_tables(comparison: Comparison, folder: Path, notes: Sequence[str] = ()) -> None:
    """Write runs.csv, configurations.csv and table.md atomically. notes: lines between the tables of table.md."""
    runs, configurations = run_rows(comparison), configuration_rows(comparison)
    for name, rows in (("runs", runs), ("configurations", configurations)):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_bytes(folder / f"{name}.csv", text.getvalue().encode())
    between = "\n".join(["```", *notes, "```", "", ""]) if notes else ""
    direction = "more" if comparison.mode == "max" else "less"
    text = (
        f"# {len(comparison.runs)} runs\n\nOrdered by {comparison.metric} ({direction} is better) of each run's best "
        f"epoch; sd is the standard deviation over seeds or folds.\n\n## Configurations\n\n"
        f"{markdown_table(configurations)}\n{between}## Runs\n\n{markdown_table(runs)}"
    )
    write_bytes(folder / "table.md", text.encode())
