"""The ledger of a sweep: its command, the overrides of its jobs, how it is resumed, and the limits of one call."""

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from src.cli.overrides import hydra_literal, is_sweep_override, override_key, override_value, split_flags
from src.errors import InputError, duration, positive_int, require
from src.files import OUTPUTS, display_path, read_json, write_json

LEDGER_FILE = "sweep.json"
ADDED_JOBS = "added_jobs.jsonl"  # jobs that a search has added since the ledger was saved, a line each
FLAG = "--config-dir"
# Key prefixes that may change on resume: how, where and how much is run, not what.
CHANGEABLE = (
    "sweep.", "hydra.launcher", "hydra/launcher", "hydra.sweeper.n_trials", "data.root", "data.download",
    "data.mirrors", "data.num_workers", "figures", "logger", "trainer.enable_progress_bar",
)  # fmt: skip


@dataclass
class Ledger:
    """What the sweep's folder records: the command's overrides, and the overrides of each job by number.

    flags: --config-dir and its folder, if the command had them. swept: the keys whose values the jobs try.
    """

    folder: Path
    overrides: list[str]
    jobs: list[list[str]] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> "Ledger | None":
        """The ledger of a folder; None if it has none. Raises InputError if the file is damaged."""
        path = folder / LEDGER_FILE
        if not path.is_file():
            return None
        try:
            content = read_json(path)
            ledger = cls(folder, content["words"], content["jobs"], content.get("flags", []), content.get("swept", []))
            ledger._read_added()
            lists = [ledger.overrides, *ledger.jobs]
            good = all(isinstance(words, list) and all(map(_is_override, words)) for words in lists)
            good = good and isinstance(ledger.swept, list) and all(isinstance(key, str) for key in ledger.swept)
            if not good or [*map(type, ledger.flags)] not in ([], [str, str]) or ledger.flags[:1] not in ([], [FLAG]):
                raise ValueError("it holds other things than overrides")
            return ledger
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{display_path(path)} is damaged: start a new sweep; the runs are intact") from None

    def _read_added(self) -> None:
        """Take in the jobs that were added; a last line that was cut off is none."""
        path = self.folder / ADDED_JOBS
        for line in path.read_text().splitlines() if path.is_file() else ():
            try:
                number, words = json.loads(line)
            except ValueError:
                return
            if number == len(self.jobs):  # others are in the ledger already
                self.jobs.append(words)

    def append(self, job: list[str]) -> None:
        """Add a job, at the cost of a line."""
        with open(self.folder / ADDED_JOBS, "a") as file:
            file.write(json.dumps([len(self.jobs), job]) + "\n")
        self.jobs.append(job)

    def save(self) -> None:
        """Write the file atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"words": self.overrides, "jobs": self.jobs, "flags": self.flags, "swept": self.swept}
        write_json(self.folder / LEDGER_FILE, content)
        (self.folder / ADDED_JOBS).unlink(missing_ok=True)


def _is_override(word: object) -> bool:
    return isinstance(word, str) and not word.startswith("-")


def swept_keys(folders: Iterable[Path]) -> list[str]:
    """The keys that the sweeps in these folders try values of; a folder that is no sweep has none."""
    keys: dict[str, None] = {}
    for folder in dict.fromkeys(folders):
        with suppress(InputError):  # damaged: the runs are intact
            ledger = Ledger.read(folder)
            keys |= dict.fromkeys(ledger.swept if ledger else ())
    return list(keys)


def open_ledger(folder: Path, overrides: list[str], flags: list[str]) -> Ledger:
    """The ledger of a folder, new or resumed with these overrides.

    Raises InputError if the folder belongs to another sweep, or already has folders named like jobs.
    """
    ledger = Ledger.read(folder)
    if ledger is None:
        taken = sorted(path.name for path in folder.glob("*") if path.name.isdigit())
        found = f"{display_path(folder)} is no sweep, and has {', '.join(taken[:3])} in it"
        require(not taken, f"{found}: give another hydra.sweep.dir")
        return Ledger(folder, overrides, [], flags)
    merge_overrides(ledger.overrides, overrides)
    ledger.overrides, ledger.flags = overrides, flags or ledger.flags
    return ledger


def resume_sweep(words: Sequence[str]) -> list[str]:
    """The words of `src.train` with sweep.resume expanded to the recorded command in its folder, plus the other words.

    Raises InputError if there is no such sweep, or the words would make it another sweep.
    """
    reference = override_value(words, "sweep.resume")
    if reference is None:
        return list(words)
    require(not any(override_key(word) == "resume_from" for word in words), "resume_from is for one run: leave it out")
    folder = find_sweep(reference)
    ledger = Ledger.read(folder)
    flags, overrides = split_flags([word for word in words if word not in ("-m", "--multirun")])
    added = [word for word in overrides if override_key(word) not in ("sweep.resume", "hydra.sweep.dir")]
    merged = merge_overrides(ledger.overrides, added)
    flags += [] if config_dir_flags(flags) else ledger.flags
    here = hydra_literal(folder)
    return ["-m", *flags, *merged, f"sweep.resume={here}", f"hydra.sweep.dir={here}"]


def config_dir_flags(words: Sequence[str]) -> list[str]:
    """--config-dir and its folder as an absolute path; empty if it is not among the words."""
    folder = next((value for flag, value in pairwise(words) if flag in (FLAG, "-cd")), None)
    return [] if folder is None else [FLAG, str(Path(folder).resolve())]


def find_sweep(reference: str) -> Path:
    """The folder of a sweep; `newest` is the newest in outputs/. Raises InputError if there is none."""
    if reference == "newest":
        found = sorted(OUTPUTS.glob(f"**/{LEDGER_FILE}"), key=lambda path: path.stat().st_mtime)
        require(bool(found), f"sweep.resume=newest: there is no sweep in {OUTPUTS.resolve()}; -m starts one")
        return found[-1].parent
    folder = Path(reference).expanduser().resolve()
    require((folder / LEDGER_FILE).is_file(), f"sweep.resume={reference}: there is no sweep ({LEDGER_FILE}) in it")
    return folder


def merge_overrides(recorded: Sequence[str], added: Sequence[str]) -> list[str]:
    """The recorded overrides of a sweep, replaced or followed by the added ones.

    Raises InputError if a value changes that is neither swept in both, nor in neither and CHANGEABLE.
    """
    old, new = ({override_key(word): word for word in words} for words in (recorded, added))
    for key, word in new.items():
        swept_before, swept_now = key in old and is_sweep_override(old[key]), is_sweep_override(word)
        if old.get(key) == word or (swept_before == swept_now and (swept_now or key.startswith(CHANGEABLE))):
            continue
        was = old[key].partition("=")[2] if key in old else "not given"
        raise InputError(
            f"sweep.resume continues the same sweep, where {key} was {was}: leave {word} out, "
            "add values to a swept key, or start a new sweep"
        )
    return [*(new.pop(key, word) for key, word in old.items()), *new.values()]


def job_identity(overrides: Sequence[str], swept: Collection[str]) -> frozenset[str]:
    """The overrides by which a resumed sweep finds a job again: all but the CHANGEABLE ones that it does not sweep."""
    keys = {word: override_key(word) for word in overrides}
    return frozenset(word for word, key in keys.items() if key in swept or not key.startswith(CHANGEABLE))


def flatten_space(params: Mapping) -> dict[str, object]:
    """A search space under full keys: {optimizer: {lr: text}}, as typed key by key, becomes {optimizer.lr: text}.

    A mapping with `space` is a value.
    """
    flat: dict[str, object] = {}
    for key, value in params.items():
        if isinstance(value, Mapping) and "space" not in value:
            flat |= {f"{key}.{inner}": leaf for inner, leaf in flatten_space(value).items()}
        else:
            flat[str(key)] = value
    return flat


def read_params(params: object) -> Mapping:
    """The values or spaces of hydra.sweeper.params, {} for null. Raises InputError for anything but key: value."""
    shown = f"hydra.sweeper.params={params}: keys and their values, as +hydra.sweeper.params.seed='range(3)'"
    require(params is None or isinstance(params, Mapping), shown)
    return params or {}


class Budget:
    """Limits on starting jobs in one call; None for none. max_time: as `duration` reads it."""

    def __init__(self, max_time: object = None, max_jobs: object = None):
        self.max_jobs = positive_int("sweep.max_jobs", max_jobs, optional=True)
        self.max_seconds = duration("sweep.max_time", max_time, optional=True)
        self.started_jobs, self._start = 0, time.monotonic()

    def limit_reached(self) -> str:
        """The key of the limit that forbids another job; empty if none does."""
        if self.max_jobs is not None and self.started_jobs >= self.max_jobs:
            return "sweep.max_jobs"
        timed_out = self.max_seconds is not None and time.monotonic() - self._start >= self.max_seconds
        return "sweep.max_time" if timed_out else ""


def format_duration(seconds: float) -> str:
    """Seconds as 4.2 s, 3 min 20 s or 1 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
