"""Atomic writes, bounded reads, digests, locks, and paths for display."""

import csv
import errno
import hashlib
import io
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from src.errors import InputError, printable

OUTPUTS = Path("outputs")  # of the working directory: where Hydra writes runs, and where `newest` looks
MAX_TEXT_BYTES = 64 << 20  # of a file of results, settings or tables


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """A file beside `path` that replaces it when the block ends without an error, synced to disk.

    Readers see the old file or the whole new one. Raises InputError where the disk is full.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        if problem := disk_full(error):
            raise InputError(f"{display_path(path)} is not written: {problem}") from None
        raise
    finally:
        part.unlink(missing_ok=True)


def read_regular(path: Path, most: int) -> bytes:
    """Up to `most` bytes of a regular file; nothing waits for whoever writes into a pipe.

    Raises OSError, also for anything but a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return file.read(most)


def read_text(path: Path, most: int = MAX_TEXT_BYTES) -> str:
    """The UTF-8 text of a regular file of up to `most` bytes. Raises OSError or ValueError for anything else."""
    content = read_regular(path, most + 1)
    if len(content) > most:
        raise ValueError(f"over {most:,} bytes")
    return content.decode("utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file, read as `read_text` does. Raises OSError or ValueError for anything else."""
    try:
        values = json.loads(read_text(path))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("it holds no mapping")
    return values


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by column, read as `read_text` does. Raises OSError or ValueError for anything else."""
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    except csv.Error as error:
        raise ValueError(str(error)) from None
    if any(None in row or None in row.values() for row in rows):
        raise ValueError("a row has more or fewer cells than there are columns")
    return rows


def disk_full(error: OSError) -> str:
    """What to do about an error that says that a disk, a quota or a limit of file sizes is full; empty for another."""
    full = [getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EFBIG")]
    advice = "make room, or give a folder elsewhere as hydra.run.dir (hydra.sweep.dir of a sweep)"
    return f"{error.strerror}; {advice}" if error.errno in full else ""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with replaced_file(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 atomically; bytes of a file's name that are not UTF-8 are escaped."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, content: dict) -> None:
    """Write indented JSON atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def lock(path: Path) -> FileLock:
    """A lock between processes that write into the folder of `path`.

    Raises InputError if that folder is not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / ".lock").touch()
    except OSError as error:
        raise InputError(f"{path.parent} cannot be written ({error.strerror}): give another data.root") from None
    return FileLock(path.parent / ".lock")


def utf8_name(path: str | Path) -> str:
    r"""A path that the system gave, or a part of one, as the same text in every locale: its bytes read as UTF-8.

    Bytes that are not UTF-8 are escaped, as caf\udce9, so that JSON, CSV and SQLite take the text. Python itself reads
    a path in the locale's encoding, with LC_ALL=C as ASCII.
    """
    text = os.fsencode(path).decode("utf-8", "surrogateescape")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def system_path(text: str) -> Path:
    """The path whose UTF-8 is this text, in every locale; a path that the system gave stays as it is."""
    return Path(os.fsdecode(text.encode("utf-8", "surrogateescape")))


def display_path(path: Path) -> str:
    """The path for a terminal: relative if it is below the working directory, control characters escaped."""
    return printable(os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path)
