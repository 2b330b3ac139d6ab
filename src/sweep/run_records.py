"""Runs as their folders record them: overrides, state, results, learning curves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.cli.overrides import override_key
from src.errors import is_number, printable, require
from src.files import display_path, read_json, read_rows, read_text
from src.model_files.renamed import with_current_targets
from src.sweep.recorded_results import read_results

STATES = ("waiting", "running", "finished", "pruned", "interrupted", "failed")
REPETITION_KEYS = ("seed", "data.seed", "data.fold")  # may differ between repetitions of one configuration
# Key prefixes that say where and how a run is executed, not what it is.
EXECUTION_KEYS = (
    "hydra.", "hydra/", "sweep.", "resume_from", "output_dir", "run_name", "figures", "trainer.enable_progress_bar",
)  # fmt: skip
MAX_CONFIG_BYTES = 1 << 20

PLAIN_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 1e-3 is a text to it; ten times as fast


@dataclass
class Run:
    """The folder of one run.

    name: its name in tables. overrides: key -> value as text, without EXECUTION_KEYS. state: one of STATES, or damaged
    where its files hold something else. error: of a failed or damaged run, on one line. command: train, or evaluate,
    whose results have the metrics of the split it measured; all pictures of a folder are a test.
    """

    name: str
    folder: Path
    overrides: dict[str, str]
    state: str
    results: dict
    seconds: float | None
    error: str
    command: str = "train"

    def score(self, metric: str) -> float | None:
        """A metric of the best epoch (val/acc), of the test (test/acc) or of the run (parameters, seconds)."""
        split, _, name = metric.rpartition("/")
        value = self.results.get(split, {}).get(name) if split else self.results.get(metric)
        return value if is_number(value) else None

    @cached_property
    def history(self) -> dict[str, list[tuple[int, float]]]:
        """Each metric's (epoch, value) pairs, from metrics.csv; empty if it cannot be read."""
        history: dict[str, list[tuple[int, float]]] = {}
        try:
            for row in read_rows(self.folder / "metrics.csv"):
                for name, text in row.items():
                    if text and "/" in name:
                        history.setdefault(name, []).append((int(row["epoch"]), float(text)))
        except (OSError, ValueError, KeyError):
            return {}
        return history

    @cached_property
    def config(self):
        """As composed, interpolations unresolved."""
        return _load_yaml(self.folder / ".hydra" / "config.yaml")

    @cached_property
    def choices(self) -> dict:
        """The option of every config group."""
        node = OmegaConf.select(_load_yaml(self.folder / ".hydra" / "hydra.yaml"), "hydra.runtime.choices")
        return node if OmegaConf.is_dict(node) else {}

    def value(self, key: str, default: str | None = None) -> str | None:
        """The value of a key or config group: from the overrides, else from the config, else the default."""
        if key in self.overrides:
            return self.overrides[key]
        if key in self.choices:
            return "null" if self.choices[key] is None else str(self.choices[key])
        try:
            value = OmegaConf.select(self.config, key)
        except OmegaConfBaseException:  # an interpolation that only the running job can resolve
            return default
        return default if value is None or OmegaConf.is_config(value) else canonical_value(str(value))


def _load_yaml(path: Path):
    """The content with today's targets; an empty config for a file that is missing, half written or invalid."""
    try:
        return _read_yaml(path)
    except Exception:  # the yaml parser and OmegaConf raise many kinds
        return OmegaConf.create()


def _read_yaml(path: Path):
    text = read_text(path, MAX_CONFIG_BYTES)
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
        return OmegaConf.create()  # none of ours; some kilobytes of them would become gigabytes
    return OmegaConf.create(with_current_targets(OmegaConf.to_container(OmegaConf.create(text))))


def _check_config(folder: Path) -> None:
    """Raise ValueError for a file of .hydra that is cut off, or something else; a run may have none."""
    for name, kind in (("config", dict), ("hydra", dict), ("overrides", list)):
        path = folder / ".hydra" / f"{name}.yaml"
        if not path.exists():
            continue
        try:
            text = read_text(path, MAX_CONFIG_BYTES)
            good = isinstance(yaml.load(text, Loader=PLAIN_YAML), kind) and text.count("${") <= text.count("}")
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ValueError(f".hydra/{name}.yaml: {error}") from None
        if not good:
            raise ValueError(f".hydra/{name}.yaml: it is cut off, or holds something else")


def canonical_value(text: str) -> str:
    """One spelling of a value: 1e-3 and 0.001 are equal."""
    text = text.strip().strip("'\"")
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return str(int(text)) if text.lstrip("+-").isdigit() else f"{number:.15g}"


def shorten_value(value: str) -> str:
    """A value for the terminal: real numbers with six digits."""
    try:
        return value if value.lstrip("+-").isdigit() else f"{float(value):.6g}"
    except ValueError:
        return value


def override_dict(overrides: Sequence[str]) -> dict[str, str]:
    """Overrides as key -> value, without EXECUTION_KEYS."""
    pairs = [(override_key(word), word.partition("=")[2]) for word in overrides if "=" in word]
    return {key: canonical_value(value) for key, value in pairs if not key.startswith(EXECUTION_KEYS)}


def _recorded_overrides(path: Path) -> list[str]:
    try:
        recorded = yaml.load(read_text(path, MAX_CONFIG_BYTES), Loader=PLAIN_YAML)
    except (OSError, ValueError, yaml.YAMLError):  # missing, or half written
        return []
    return list(map(str, recorded)) if isinstance(recorded, list) else []


def read_run(folder: Path, name: str, overrides: Sequence[str] | None = None) -> Run:
    """The run of a folder, in state waiting if nothing has been written yet.

    overrides: of a job, whose ledger has them; None reads them from the folder, and its config is checked.
    """
    of_ledger = overrides is not None
    if overrides is None:
        overrides = _recorded_overrides(folder / ".hydra" / "overrides.yaml")
    command = "train"
    try:
        status = read_status(folder)
        command = "evaluate" if status.get("command") == "evaluate" else "train"
        state, seconds, error = status["state"], status.get("seconds"), status.get("error", "")
        results = read_results(folder, command) if state == "finished" else {}
        if state not in ("waiting", "running") and not of_ledger:  # which may be writing it
            _check_config(folder)
    except (OSError, ValueError) as damage:
        state, results, seconds, error = "damaged", {}, None, printable(" ".join(str(damage).split()), 200)
    state = "pruned" if results.get("pruned") else state
    words = override_dict(overrides)
    if "ckpt" in results:  # which newest was
        words["ckpt"] = display_path(Path(results["ckpt"]))
    return Run(name, folder, words, state, results, seconds, error, command)


def read_status(folder: Path) -> dict[str, Any]:
    """The entries of status.json; the state waiting if there is no such file. Raises OSError or ValueError."""
    path = folder / "status.json"
    if not path.exists():
        return {"state": "waiting"}
    try:
        status = read_json(path)
    except ValueError as error:
        raise ValueError(f"status.json: {error}") from None
    seconds = status.get("seconds")
    good = status.get("state") in STATES and isinstance(status.get("error", ""), str)
    if not good or not (seconds is None or is_number(seconds)):
        raise ValueError("status.json: its state, seconds or error cannot be")
    return status


def find_runs(paths: Sequence[str]) -> list[Run]:
    """The training runs in these folders and all their subfolders, each once; some may have none, or be files.

    A folder of src.evaluate counts where it is given itself: not every look at a network is meant to be compared.

    Raises InputError if a path does not exist, or there is no run at all.
    """
    runs = []
    for path in paths:
        top = Path(path).expanduser()
        require(top.exists(), f"{path} does not exist: give runs or sweeps, as python -m src.compare outputs/<sweep>")
        files = [file for file in top.rglob("status.json") if _is_compared(file.parent, top)]
        folders = sorted({file.parent for file in files}, key=_sort_key)
        for folder in folders:
            name = f"{folder.parent.name}/{folder.name}" if folder.name.isdigit() else folder.name
            relative = len(paths) == 1 and folder != top
            runs.append(read_run(folder, str(folder.relative_to(top)) if relative else name))
    hint = "python -m src.train makes one; folders of src.evaluate are given themselves"
    require(bool(runs), f"{', '.join(paths)}: there is no run in it; {hint}")
    return list({run.folder.resolve(): run for run in runs}.values())


def _is_compared(folder: Path, top: Path) -> bool:
    try:
        command = read_status(folder).get("command", "train")
        return command == "train" or (command == "evaluate" and folder == top)
    except (OSError, ValueError):
        return True  # damaged; the tables say so


def _sort_key(folder: Path) -> tuple:
    """Job folders in numeric order: 2 before 10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in folder.parts)
