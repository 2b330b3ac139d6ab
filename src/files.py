"""Atomic writes, digests, locks, and paths for display."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from src.errors import InputError

OUTPUTS = Path("outputs")  # of the working directory: where Hydra writes runs, and where `newest` looks


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


def disk_full(error: OSError) -> str:
    """What to do about an error that says that a disk, a quota or a limit of file sizes is full; empty for another."""
    full = [getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EFBIG")]
    advice = "make room, or give a folder elsewhere as hydra.run.dir (hydra.sweep.dir of a sweep)"
    return f"{error.strerror}; {advice}" if error.errno in full else ""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with replaced_file(path) as file:
        file.write(content)


def write_json(path: Path, content: dict) -> None:
    """Write indented JSON atomically."""
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


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


def display_path(path: Path) -> str:
    """The path as a user would type it: relative if it is below the working directory."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
