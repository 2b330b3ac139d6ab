"""Runs as tables: a row per run, and a row per configuration with mean and spread over its seeds or folds."""

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from src.data.fetch import write_bytes
from src.sweep.runs import REPEATS, Run, columns_of, metric_of

MISSING = "–"
RATES = ("acc", "f1", "precision", "recall", "top2", "ece")


@dataclass
class Configuration:
    """Runs that differ only by seed or fold.

    values: of the compared keys. scores: of those that finished; mean and sd (over n - 1) of them, None where there
    are none, or only one.
    """

    values: dict[str, str]
    runs: list[Run]
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

    columns: keys by which they differ; metric: what they are ordered by; mode: max or min of it is best.
    """

    runs: list[Run]
    columns: list[str]
    metric: str
    mode: str
    configurations: list[Configuration]

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
    def test_metric(self) -> str | None:
        """The same metric of the test split, where a run has it."""
        name = f"test/{self.metric.rpartition('/')[2]}"
        return name if name != self.metric and any(run.score(name) is not None for run in self.runs) else None


def compare(runs: Sequence[Run], metric: str | None = None) -> Comparison:
    """Order runs, and group those that are repetitions of one another. Raises InputError as `metric_of` does."""
    metric, mode = metric_of(runs, metric)
    columns = columns_of(runs)
    kept = [key for key in columns if key not in REPEATS]
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(run.value(key) for key in kept), []).append(run)
    comparison = Comparison(list(runs), columns, metric, mode, [])
    for values, members in groups.items():
        finished = [run for run in members if run.state == "finished"]
        scores = [score for run in finished if (score := run.score(metric)) is not None]
        given = {key: value if value is not None else MISSING for key, value in zip(kept, values, strict=True)}
        comparison.configurations.append(Configuration(given, members, scores))
    comparison.configurations.sort(key=lambda configuration: comparison.sort_key(configuration.mean))
    return comparison


def run_rows(comparison: Comparison) -> list[list[str]]:
    """A header and a row per run, for `write_csv` and for people."""
    metric, test = comparison.metric, comparison.test_metric
    rows = [["run", *comparison.columns, "state", metric, *([test] if test else []), "epoch", "seconds", "error"]]
    for run in comparison.ranked():
        scores = [run.score(metric), *([run.score(test)] if test else [])]
        rows.append(
            [
                run.name,
                *(value if (value := run.value(key)) is not None else MISSING for key in comparison.columns),
                run.state,
                *("" if score is None else f"{score:.7g}" for score in scores),
                str(run.results.get("best_epoch") or ""),
                "" if run.seconds is None else f"{run.seconds:.1f}",
                run.error,
            ]
        )
    if not any(row[-1] for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    return rows


def configuration_rows(comparison: Comparison) -> list[list[str]]:
    """A header and a row per configuration."""
    metric, test = comparison.metric, comparison.test_metric
    keys = [key for key in comparison.columns if key not in REPEATS]
    rows = [[*keys, metric, "sd", "n", *([test, f"{test} sd"] if test else []), "runs", "seconds"]]
    for each in comparison.configurations:
        tested = [s for run in each.runs if test and run.state == "finished" and (s := run.score(test)) is not None]
        seconds = [run.seconds for run in each.runs if run.seconds is not None]
        rows.append(
            [
                *each.values.values(),
                _number(each.mean),
                _number(each.sd),
                str(len(each.scores)),
                *((_number(_mean(tested)), _number(_sd(tested))) if test else ()),
                " ".join(run.name for run in each.runs),
                f"{statistics.fmean(seconds):.1f}" if seconds else "",
            ]
        )
    return rows


def _mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _sd(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.7g}"


def shown(value: float | None, metric: str, sd: float | None = None) -> str:
    """A score as people read it: rates in per cent, with what it scatters by."""
    if value is None:
        return MISSING
    if metric.rpartition("/")[2] in RATES:
        return f"{100 * value:.2f}" + (f" ± {100 * sd:.2f}" if sd is not None else "") + " %"
    return f"{value:.4g}" + (f" ± {sd:.2g}" if sd is not None else "")


def summary(comparison: Comparison, most: int = 20) -> str:
    """The configurations, best first, for a terminal: at most `most` of them."""
    keys = [key for key in comparison.columns if key not in REPEATS]
    test = comparison.test_metric
    rows = [[*keys, comparison.metric, *([test] if test else []), "n", "runs"]]
    for each in comparison.configurations[:most]:
        tested = [s for run in each.runs if test and run.state == "finished" and (s := run.score(test)) is not None]
        names = [run.name for run in each.runs]
        states = sorted({run.state for run in each.runs} - {"finished"})
        counts = [f"{sum(run.state == state for run in each.runs)} {state}" for state in states]
        named = " ".join(names[:6]) + (" ..." if len(names) > 6 else "")
        rows.append(
            [
                *each.values.values(),
                shown(each.mean, comparison.metric, each.sd),
                *([shown(_mean(tested), test, _sd(tested))] if test else []),
                str(len(each.scores)),
                named + (f" ({', '.join(counts)})" if counts else ""),
            ]
        )
    left = len(comparison.configurations) - most
    return aligned(rows) + (f"\n... and {left} more" if left > 0 else "")


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
