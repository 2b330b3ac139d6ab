"""A sweep's own record: its command and its jobs, how long it may take, and how it is taken up again."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from src.cli.config import ROOT
from src.cli.overrides import override_key, override_value, split_flags
from src.errors import InputError, is_integer, require
from src.files import display_path, write_json

FILE = "sweep.json"
# What may change when a sweep is taken up again: how, where and how much is run, not what.
FREE = (
    "sweep.", "hydra.launcher", "hydra/launcher", "hydra.sweeper.n_trials", "data.root", "data.download",
    "data.mirrors", "data.num_workers", "figures", "logger", "trainer.enable_progress_bar",
)  # fmt: skip


@dataclass
class Ledger:
    """The command of a sweep and the overrides of each of its jobs, by number; kept in the sweep's folder."""

    folder: Path
    words: list[str]
    jobs: list[list[str]] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)  # where more config files are

    @classmethod
    def read(cls, folder: Path) -> "Ledger | None":
        """What a folder's file says; None where there is none. Raises InputError for a damaged one."""
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text())
            jobs = [list(words) for words in content["jobs"]]
            return cls(folder, list(content["words"]), jobs, list(content.get("flags", [])))
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{display_path(path)} is damaged: start a new sweep; its runs are still there") from None

    def save(self) -> None:
        """Write it; what was there is replaced whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / FILE, {"words": self.words, "jobs": self.jobs, "flags": self.flags})


def open_ledger(folder: Path, words: list[str], flags: list[str]) -> Ledger:
    """The ledger of a folder, new or taken up again with these words.

    Raises InputError where the folder is another sweep's, or has something in it where the jobs would be.
    """
    known = Ledger.read(folder)
    if known is None:
        taken = sorted(path.name for path in folder.glob("*") if path.name.isdigit())
        none = f"{display_path(folder)} is no sweep, and has {', '.join(taken[:3])} in it"
        require(not taken, f"{none}: give another hydra.sweep.dir")
        return Ledger(folder, words, [], flags)
    merge(known.words, words)
    known.words, known.flags = words, flags or known.flags
    return known


class Budget:
    """When no more jobs begin: after `max_time` (seconds, [days:]hours:minutes:seconds) or `max_jobs` of them.

    Raises InputError for anything else.
    """

    def __init__(self, max_time: object = None, max_jobs: object = None):
        require(
            max_jobs is None or (is_integer(max_jobs) and max_jobs >= 1),
            f"sweep.max_jobs={max_jobs}: at least 1, or null",
        )
        self.seconds, self.jobs = seconds_of(max_time), max_jobs
        self.begun, self._start = 0, time.monotonic()

    def spent(self) -> str:
        """Which key forbids another job; empty while there is budget left."""
        if self.jobs is not None and self.begun >= self.jobs:
            return "sweep.max_jobs"
        return "sweep.max_time" if self.seconds is not None and time.monotonic() - self._start >= self.seconds else ""


def seconds_of(given: object) -> float | None:
    """A length of time, as a number of seconds or as [[days:]hours:]minutes:seconds."""
    if given is None:
        return None
    text = str(given)
    if not re.fullmatch(r"\d+(\.\d+)?|(\d+:){1,3}\d+", text) or not (total := _total(text)):
        raise InputError(f"sweep.max_time={given}: seconds, or 'hours:minutes:seconds', above 0")
    return total


def _total(text: str) -> float:
    parts = [float(part) for part in text.split(":")]
    return sum(part * unit for part, unit in zip(reversed(parts), (1, 60, 3600, 86400), strict=False))


def clock(seconds: float) -> str:
    """A length of time for people."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def resume_sweep(words: Sequence[str]) -> list[str]:
    """The words of `src.train`; sweep.resume becomes the command of that sweep, in its folder, plus the other words.

    Raises InputError if there is no such sweep, or where it would become another one.
    """
    reference = override_value(words, "sweep.resume")
    if reference is None:
        return list(words)
    require(not any(override_key(word) == "resume_from" for word in words), "resume_from is for one run: leave it out")
    folder = find_sweep(reference)
    ledger = Ledger.read(folder)
    flags, overrides = split_flags([word for word in words if word not in ("-m", "--multirun")])
    added = [word for word in overrides if override_key(word) not in ("sweep.resume", "hydra.sweep.dir")]
    merged = merge(ledger.words, added)
    flags += [] if config_flags(flags) else ledger.flags
    return ["-m", *flags, *merged, f"sweep.resume='{folder}'", f"hydra.sweep.dir='{folder}'"]


def config_flags(words: Sequence[str]) -> list[str]:
    """--config-dir and its folder, where they are given, from the root of the file system."""
    for flag, folder in pairwise(words):
        if flag in ("--config-dir", "-cd"):
            return ["--config-dir", str(Path(folder).resolve())]
    return []


def flat(params: Mapping) -> dict[str, object]:
    """A search space typed key by key on the command line, {optimizer: {lr: text}}, under its full keys."""
    found: dict[str, object] = {}
    for key, value in params.items():
        if isinstance(value, Mapping) and "space" not in value:
            found |= {f"{key}.{inner}": leaf for inner, leaf in flat(value).items()}
        else:
            found[str(key)] = value
    return found


def find_sweep(given: str) -> Path:
    """The folder of a sweep, or of the newest one. Raises InputError where there is none."""
    if given == "newest":
        found = sorted((ROOT / "outputs").glob(f"**/{FILE}"), key=lambda path: path.stat().st_mtime)
        require(bool(found), f"sweep.resume=newest: there is no sweep in {ROOT / 'outputs'}; -m makes one")
        return found[-1].parent
    folder = Path(given).expanduser().resolve()
    require((folder / FILE).is_file(), f"sweep.resume={given}: there is no sweep ({FILE}) in that folder")
    return folder


def merge(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """The words of a sweep with those given now in their place; swept values may change, and what is FREE.

    Raises InputError for another value of anything else.
    """
    old, new = ({override_key(word): word for word in words} for words in (before, now))
    for key, word in new.items():
        if key.startswith(FREE) or old.get(key) == word:
            continue
        if key in old and is_sweep(old[key]) and is_sweep(word):
            continue
        was = old[key].partition("=")[2] if key in old else "not given"
        raise InputError(
            f"sweep.resume goes on with the same sweep, where {key} was {was}: leave {word} out, "
            "add values to what was swept, or start a new sweep"
        )
    return [*(new.pop(key, word) for key, word in old.items()), *new.values()]


def identity(words: Sequence[str]) -> frozenset[str]:
    """What makes a job the one it is: its overrides but for those that may change."""
    return frozenset(word for word in words if not override_key(word).startswith(FREE))


def is_sweep(word: str) -> bool:
    """Whether an override gives several values."""
    try:
        return OverridesParser.create().parse_override(word).is_sweep_override()
    except Exception:  # Hydra will say what is wrong with it
        return False


def consecutive(numbers: Sequence[int]) -> list[list[int]]:
    """Runs of consecutive numbers."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return parts
