"""The pictures below a folder, and a count of what is left out."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from src.errors import InputError
from src.pictures.file_types import SUFFIXES

# Folders and files that archives, file systems and editors leave behind; names that begin with a dot are hidden too.
SYSTEM_NAMES = {"__macosx", "__pycache__", "@eadir", "$recycle.bin", "#recycle", "lost+found", "thumbs.db"}
SYSTEM_NAMES |= {"desktop.ini", "system volume information"}


@dataclass
class LeftOut:
    """What a folder holds besides its pictures.

    hidden: files that are hidden, or in hidden folders. others: files by suffix. links: to nothing, or back to a folder
    that is read already. loose: pictures beside the folders of classes or splits. folders: beside those of the splits.
    """

    hidden: int = 0
    others: Counter = field(default_factory=Counter)
    links: int = 0
    loose: int = 0
    folders: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{self.hidden:,} hidden"] * bool(self.hidden)
        parts += [f"{count:,} {suffix or 'without a suffix'}" for suffix, count in self.others.most_common(8)]
        parts += [f"{self.links:,} link{'s' * (self.links != 1)} to nothing or back"] * bool(self.links)
        parts += [f"{self.loose:,} picture{'s' * (self.loose != 1)} outside the folders"] * bool(self.loose)
        return ", ".join(parts + [f"the folder {name}" for name in self.folders[:8]])


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or an operating system's own."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def is_picture(name: str) -> bool:
    """Whether a file of this name is read as a picture."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def visible_folders(folder: Path) -> list[str]:
    """Names of the folders in a folder, links to folders included, sorted; without hidden ones."""
    return [entry.name for entry in _entries(folder) if entry.is_dir() and not is_hidden(entry.name)]


def list_pictures(folder: Path, left_out: LeftOut) -> list[Path]:
    """The pictures in a folder and the folders below it, sorted; links to files and folders are followed.

    Each folder is read once: a link back to it, to a folder that it is in, or a second link to it is left out.
    left_out: counts the rest. Raises InputError for a folder that cannot be read.
    """
    real = Path(os.path.realpath(folder))
    return sorted(_walk(folder, left_out, {str(real), *map(str, real.parents)}))


def count_loose(folder: Path, left_out: LeftOut) -> None:
    """Count the files in a folder itself, which belong to none of its classes."""
    for entry in _entries(folder):
        if is_hidden(entry.name):
            left_out.hidden += sum(1 for _ in _files_below(entry.path)) if entry.is_dir() else 1
        elif not entry.is_dir():
            if is_picture(entry.name):
                left_out.loose += 1
            else:
                left_out.others[Path(entry.name).suffix.lower()] += 1


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read ({error.strerror}): change its permissions, or move it away"
        ) from None


def _walk(folder: Path, left_out: LeftOut, seen: set[str]) -> Iterator[Path]:
    for entry in _entries(folder):
        if entry.is_dir():
            if is_hidden(entry.name):
                left_out.hidden += sum(1 for _ in _files_below(entry.path))
            elif (real := os.path.realpath(entry.path)) in seen:
                left_out.links += 1
            else:
                seen.add(real)
                yield from _walk(folder / entry.name, left_out, seen)
        elif is_hidden(entry.name):
            left_out.hidden += 1
        elif not entry.is_file():  # a broken link, a pipe, a device
            left_out.links += 1
        elif is_picture(entry.name):
            yield folder / entry.name
        else:
            left_out.others[Path(entry.name).suffix.lower()] += 1


def _files_below(folder: str) -> Iterator[str]:
    """The files below a hidden folder; links are not followed."""
    for _, _, files in os.walk(folder):
        yield from files
