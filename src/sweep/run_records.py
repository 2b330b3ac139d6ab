"""What a run on disk was given, and what came of it."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.errors import InputError, require
from src.evaluation.monitor import monitor_mode
from src.model_files.renamed import with_current_targets

# What differs between repetitions of one configuration.
REPEATS = ("seed", "data.seed", "data.fold")
# What says where and how a run is run, not what it is.
BESIDE = (
    "hydra.",
    "hydra/",
    "sweep.",
    "resume_from",
    "output_dir",
    "run_name",
    "figures",
    "trainer.enable_progress_bar",
)


@dataclass
class Run:
    """One run's folder.

    name: what tables call it. given: its overrides, key -> value as text. state: waiting, running, finished, pruned,
    interrupted or failed; error: one line about a failure.
    """

    name: str
    folder: Path
    given: dict[str, str] = field(default_factory=dict)
    state: str = "waiting"
    results: dict = field(default_factory=dict)
    seconds: float | None = None
    error: str = ""

    @property
    def monitor(self) -> str | None:
        """The metric its best epoch was chosen by."""
        return self.results.get("monitor")

    def score(self, name: str) -> float | None:
        """A figure of its best epoch (val/acc), of its test (test/acc), or of the run (parameters, seconds)."""
        split, _, metric = name.rpartition("/")
        value = self.results.get(split, {}).get(metric) if split else self.results.get(name)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    @cached_property
    def curve(self) -> dict[str, list[tuple[int, float]]]:
        """Each metric's (epoch, value), from metrics.csv."""
        lines: dict[str, list[tuple[int, float]]] = {}
        try:
            with (self.folder / "metrics.csv").open(newline="") as file:
                for row in csv.DictReader(file):
                    for name, text in row.items():
                        if text and "/" in name:
                            lines.setdefault(name, []).append((int(row["epoch"]), float(text)))
        except (OSError, ValueError, KeyError):
            return {}
        return lines

    @cached_property
    def config(self):
        """What it was composed of."""
        return _load(self.folder / ".hydra" / "config.yaml")

    @cached_property
    def choices(self) -> dict:
        """The option of every config group."""
        return OmegaConf.select(_load(self.folder / ".hydra" / "hydra.yaml"), "hydra.runtime.choices") or {}

    def value(self, key: str) -> str | None:
        """What it was given for `key`, or what stood there anyway; None where there is no such key."""
        if key in self.given:
            return self.given[key]
        if key in self.choices:
            return str(self.choices[key])
        try:
            found = OmegaConf.select(self.config, key)
        except OmegaConfBaseException:  # an interpolation of the run's own time
            return None
        return None if found is None or OmegaConf.is_config(found) else canonical(str(found))


def _load(path: Path):
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))  # interpolations stay as they are
        return OmegaConf.create(with_current_targets(content))
    except Exception:  # missing, half written or no YAML: there is nothing to tell from it
        return OmegaConf.create()


def canonical(text: str) -> str:
    """One spelling of a value: 1e-3 and 0.001 are the same."""
    text = text.strip().strip("'\"")
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return str(int(text)) if text.lstrip("+-").isdigit() else f"{number:.15g}"


def brief(value: str) -> str:
    """A value for the terminal: six digits of a real number."""
    try:
        return value if value.lstrip("+-").isdigit() else f"{float(value):.6g}"
    except ValueError:
        return value


def split_words(words: Sequence[str]) -> dict[str, str]:
    """Overrides as key -> value, without those about how a run is run."""
    pairs = [word.lstrip("+~").partition("=") for word in words]
    return {key: canonical(value) for key, sign, value in pairs if sign and not key.startswith(BESIDE)}


def read_run(folder: Path, name: str, words: Sequence[str] | None = None) -> Run:
    """The run of a folder; waiting where nothing has been written yet.

    words: its overrides, where they are known.
    """
    run = Run(name, folder)
    if words is None:
        listed = _load(folder / ".hydra" / "overrides.yaml")
        words = list(listed) if OmegaConf.is_list(listed) else []
    run.given = split_words(words)
    status = _read_json(folder / "status.json")
    run.state, run.seconds = status.get("state", "waiting"), status.get("seconds")
    run.error = status.get("error", "")
    if run.state == "finished":
        run.results = _read_json(folder / "results.json")
        run.state = "pruned" if run.results.get("pruned") else "finished"
    return run


def _read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def find_runs(given: Sequence[str]) -> list[Run]:
    """The runs of folders: of a run, of a sweep, or of any folder that runs are somewhere below.

    Raises InputError where there are none.
    """
    runs = []
    for place in given:
        top = Path(place).expanduser()
        require(top.is_dir(), f"{place} is no folder: give runs or sweeps, as python -m src.compare outputs/<sweep>")
        folders = sorted({path.parent for path in top.rglob("status.json") if _is_training(path)}, key=_by_number)
        if not folders:
            raise InputError(f"{place}: there is no run in it; python -m src.train makes one")
        alone = len(given) == 1
        for folder in folders:
            name = str(folder.relative_to(top)) if alone and folder != top else _last_parts(folder)
            runs.append(read_run(folder, name))
    unique = {run.folder.resolve(): run for run in runs}
    return list(unique.values())


def _is_training(status: Path) -> bool:
    return _read_json(status).get("command", "train") == "train"


def _by_number(folder: Path) -> tuple:
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in folder.parts)


def _last_parts(folder: Path) -> str:
    """A run's name among those of several sweeps."""
    return f"{folder.parent.name}/{folder.name}" if folder.name.isdigit() else folder.name


def columns_of(runs: Sequence[Run]) -> list[str]:
    """The keys by which the runs differ, in the order they were given."""
    keys = dict.fromkeys(key for run in runs for key in run.given)
    return [key for key in keys if len({run.value(key) for run in runs}) > 1]


def metric_of(runs: Sequence[Run], metric: str | None = None) -> tuple[str, str]:
    """By what the runs are ordered, and whether more or less of it is better (max, min).

    Raises InputError where they were chosen by different metrics, or none has the one that is asked for.
    """
    if metric is None:
        names = list(dict.fromkeys(run.monitor for run in runs if run.monitor))
        require(len(names) <= 1, f"these runs were chosen by {', '.join(names)}: give metric=<one of them>")
        metric = names[0] if names else "val/acc"
    elif all(run.score(metric) is None for run in runs):
        known = {f"{split}/{name}" for run in runs for split in ("val", "test") for name in run.results.get(split, {})}
        some = sorted(name for name in known if any(run.score(name) is not None for run in runs))
        raise InputError(f"metric={metric}: no run has it; there are: {', '.join([*some, 'parameters', 'seconds'])}")
    return metric, monitor_mode(metric)
