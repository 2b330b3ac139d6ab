"""Runs ordered by a metric, and grouped into configurations with mean and spread over seeds or folds."""

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from omegaconf import OmegaConf

from src.errors import InputError, require
from src.evaluation.monitor import monitor_mode
from src.files import read_text
from src.sweep.run_records import MAX_CONFIG_BYTES, REPETITION_KEYS, Run, shorten_value

MISSING = "–"
USUAL = ("val/acc", "test/acc", "train/acc", "val/mae", "test/mae", "train/mae")  # metrics of runs that monitored none
TASKS = "val/task_average"  # of runs that learned one task after another
AMOUNT_KEYS = ("data.shots", "data.fraction")  # how much data trains: a table in their order reads as a curve


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

    varied_keys: overrides that are swept or differ between runs. mode: max or min of the metric is best.
    configurations: best first, within each amount of data where that is swept (AMOUNT_KEYS). extra_metrics: further
    columns of the tables.
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
        scored = [configuration for configuration in self.configurations if configuration.scores]
        return min(scored, key=lambda configuration: self.sort_key(configuration.mean), default=None)

    def sort_key(self, score: float | None) -> tuple[bool, float]:
        """Sorts best first, None last."""
        return (score is None, 0.0 if score is None else -score if self.mode == "max" else score)

    def ranked(self) -> list[Run]:
        """The runs, best first; those without a result last, in their own order."""
        return sorted(self.runs, key=lambda run: self.sort_key(run.score(self.metric)))

    def listed(self) -> list[Run]:
        """The runs as the tables have them: ranked, within each amount of data where that is swept."""
        return sorted(self.ranked(), key=lambda run: self.amounts({key: run.value(key) for key in self.amount_keys}))

    @property
    def amount_keys(self) -> list[str]:
        """The varied keys that say how much data trains."""
        return [key for key in AMOUNT_KEYS if key in self.varied_keys]

    def amounts(self, values: Mapping[str, str | None]) -> list[float]:
        """The amounts of data among the values of a configuration; infinity for all there are."""
        return [to_amount(values[key]) for key in self.amount_keys]

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


def find_varied_keys(runs: Sequence[Run], swept: Collection[str] = ()) -> list[str]:
    """The overridden keys that are swept or whose values differ between runs, in the order of the overrides."""
    keys = dict.fromkeys(key for run in runs for key in run.overrides)
    return [key for key in keys if key in swept or len({run.value(key) for run in runs}) > 1]


def resolve_metric(runs: Sequence[Run], metric: str | None = None) -> tuple[str, str]:
    """The metric that orders the runs, and its mode (max, min). None for the metric they monitored, or for what they
    know in the end where they all learned one task after another.

    Raises InputError if they monitored different metrics, or no run has the given one.
    """
    known = [run.score(TASKS) is not None for run in runs if run.results.get("val")]
    if metric is None and known and all(known):
        metric = TASKS
    elif metric is None:
        names = list(dict.fromkeys(run.results["monitor"] for run in runs if run.results.get("monitor")))
        require(len(names) <= 1, f"these runs monitored {', '.join(names)}: give metric=<one of them>")
        measured = [name for name in USUAL if any(run.score(name) is not None for run in runs)]
        metric = [*names, *measured, USUAL[0]][0]
    elif all(run.score(metric) is None for run in runs):
        names = {f"{split}/{name}" for run in runs for split in ("val", "test") for name in run.results.get(split, {})}
        known = sorted(name for name in names if any(run.score(name) is not None for run in runs))
        raise InputError(f"metric={metric}: no run has it; there are: {', '.join([*known, 'parameters', 'seconds'])}")
    return metric, monitor_mode(metric)


def to_amount(value: str | None) -> float:
    """How much data a value of AMOUNT_KEYS stands for; infinity for all there are."""
    try:
        return float(value or "inf")
    except ValueError:  # null
        return float("inf")


def compare_runs(
    runs: Sequence[Run], metric: str | None = None, extra_metrics: Sequence[str] = (), swept: Collection[str] = ()
) -> Comparison:
    """Order runs and group the repetitions of each configuration. Raises InputError as `resolve_metric` does.

    extra_metrics: further columns; `parameters` is added where runs differ in it, and what was learned and forgotten
    where a run learned one task after another. swept: keys that are columns even
    where all runs have the same value.
    """
    _declare_metrics(runs)
    metric, mode = resolve_metric(runs, metric)
    if len({run.score("parameters") for run in runs} - {None}) > 1:
        extra_metrics = dict.fromkeys([*extra_metrics, "parameters"])
    for split in ("test", "val"):  # the test where there is one
        if any(run.score(f"{split}/task_average") is not None for run in runs):
            extra_metrics = dict.fromkeys([*extra_metrics, f"{split}/task_average", f"{split}/forgetting"])
            break
    extra_metrics = tuple(name for name in extra_metrics if name != metric)
    comparison = Comparison(list(runs), find_varied_keys(runs, swept), metric, mode, [], extra_metrics)
    keys = comparison.configuration_keys
    repeated = [key for key in REPETITION_KEYS if any(key in run.overrides for run in runs)]
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(run.value(key, MISSING) for key in keys), []).append(run)
    for values, members in groups.items():
        repetitions: dict[tuple, Run] = {}  # the same seed and fold twice is no repetition
        for run in members:
            if run.state == "finished" and run.score(metric) is not None:
                repetitions.setdefault((run.results.get("seed"), *(run.value(key) for key in repeated)), run)
        counted = list(repetitions.values())
        scores = [run.score(metric) for run in counted]
        named, spread = dict(zip(keys, values, strict=True)), mean_and_sd(counted, metric)
        comparison.configurations.append(Configuration(named, members, counted, scores, *spread))
    comparison.configurations.sort(key=lambda each: (comparison.amounts(each.values), comparison.sort_key(each.mean)))
    return comparison


def _declare_metrics(runs: Sequence[Run]) -> None:
    """Let `monitor_mode` know the metrics that the runs' configs add."""
    nodes = [run.config.get("metrics") for run in runs if _adds_metrics(run) and OmegaConf.is_dict(run.config)]
    if added := OmegaConf.merge({}, *(node for node in nodes if OmegaConf.is_dict(node))):
        from src.model_files.extra_metrics import declare_stored  # torch

        declare_stored(OmegaConf.to_container(added))


def _adds_metrics(run: Run) -> bool:
    """Whether its config may have entries in `metrics`: a look at the file, which takes long to parse."""
    try:
        return "\nmetrics: {}\n" not in read_text(run.folder / ".hydra" / "config.yaml", MAX_CONFIG_BYTES)
    except (OSError, ValueError):
        return True


def values_text(values: Mapping[str, str]) -> str:
    """A configuration's values as key=value, without what it lacks: another run's keys, and no experiment."""
    shown = {k: v for k, v in values.items() if v != MISSING and (k, v) != ("experiment", "null")}
    return " ".join(f"{key}={shorten_value(value)}" for key, value in shown.items())


def mean_and_sd(runs: Sequence[Run], metric: str) -> tuple[float | None, float | None]:
    """Mean and standard deviation (n - 1) of a metric over runs; None without enough of them."""
    values = [value for run in runs if (value := run.score(metric)) is not None]
    return statistics.fmean(values) if values else None, statistics.stdev(values) if len(values) > 1 else None
