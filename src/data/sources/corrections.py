"""What people corrected: the store that a server writes and training reads."""

import hashlib
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from src.errors import InputError, require

NAME = "feedback.sqlite"
VERSION = 1
NAME_LENGTH = 200  # characters of a class' name
TABLE = """CREATE TABLE corrections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    made_at TEXT NOT NULL,      -- UTC, ISO 8601
    image BLOB NOT NULL,        -- grey levels as the network read them
    channels INTEGER NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL,
    picture BLOB NOT NULL,      -- the file as it was sent
    answer TEXT,                -- what the network said, NULL for nothing
    correction TEXT NOT NULL,   -- what it is
    model TEXT NOT NULL         -- SHA-256 of the network's file
)"""


class FullError(InputError):
    """The store takes no more."""


class StoredCorrection(NamedTuple):
    """One picture that somebody named: image uint8 (C, H, W) as the network read it, its class' name.

    id: of its last row; key: SHA-256 of the image's bytes, the same whenever the picture comes again; earlier: ids and
    names of its other rows, which no longer count.
    """

    id: int
    key: bytes
    image: Tensor
    correction: str
    answer: str | None
    model: str
    earlier: tuple[tuple[int, str], ...] = ()


class Feedback:
    """The store: one SQLite file, safe from the threads of a process and from several processes.

    path: the file, or the folder that holds feedback.sqlite; made with the first correction.
    rows, megabytes: what it takes at most; the oldest stay, new ones are refused.
    """

    def __init__(self, path: Path | str, rows: int = 20_000, megabytes: int = 512):
        self.path, self.rows, self.megabytes = store_file(path), rows, megabytes
        self._lock, self._connection = threading.Lock(), None

    def add(
        self, image: Tensor | np.ndarray, picture: bytes, answer: str | None, correction: str, digest: str = ""
    ) -> int:
        """Keep one correction; returns its number, from 1.

        image: uint8 (C, H, W), as the network read it; picture: the file that was sent; digest: the network's SHA-256.
        Raises FullError if there is no room, InputError if it cannot be written, or is given something else.
        """
        array = np.ascontiguousarray(image.numpy() if isinstance(image, Tensor) else image)
        require(
            array.dtype == np.uint8 and array.ndim == 3 and array.size > 0,
            f"a correction's image is {array.dtype} {array.shape}: uint8 (channels, height, width) is needed",
        )
        named = isinstance(correction, str) and 0 < len(correction) <= NAME_LENGTH
        require(named, f"a correction is a class' name of 1 to {NAME_LENGTH} characters")
        row = (datetime.now(UTC).isoformat(timespec="milliseconds"), array.tobytes(), *array.shape)
        with self._lock:
            try:
                connection = self._open()
                with connection:  # a transaction
                    connection.execute("BEGIN IMMEDIATE")
                    self._check_room(connection)
                    cursor = connection.execute(
                        "INSERT INTO corrections (made_at, image, channels, height, width, picture, answer, "
                        "correction, model) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (*row, bytes(picture), answer, correction, digest),
                    )
                    return cursor.lastrowid
            except (sqlite3.Error, OSError) as error:
                raise InputError(f"{self.path} cannot be written ({error}): give another file") from None

    def count(self) -> int:
        """How many corrections it holds."""
        with self._lock:
            if self._connection is None and not self.path.is_file():
                return 0
            try:
                return self._open().execute("SELECT count(*) FROM corrections").fetchone()[0]
            except (sqlite3.Error, OSError) as error:
                raise InputError(f"{self.path} cannot be read ({error})") from None

    def close(self) -> None:
        """Close the file; another `add` opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=5, check_same_thread=False, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("BEGIN IMMEDIATE")
                if _version(connection) == 0 and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                    connection.execute(TABLE)
                    connection.execute(f"PRAGMA user_version={VERSION}")
                connection.execute("COMMIT")
                _check_version(connection, self.path)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _check_room(self, connection: sqlite3.Connection) -> None:
        count = connection.execute("SELECT count(*) FROM corrections").fetchone()[0]
        pages, page = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        if count >= self.rows or pages * page >= self.megabytes * 1_000_000:
            raise FullError(
                f"{self.path} is full ({count:,} corrections, {pages * page / 1e6:,.0f} MB): train with data=feedback, "
                "then move it away"
            )


def store_file(path: Path | str) -> Path:
    """The store's file: `path` itself, or feedback.sqlite in the folder `path`."""
    path = Path(path).expanduser()
    return path / NAME if path.is_dir() else path


def read_corrections(path: Path | str) -> list[StoredCorrection]:
    """All corrections, one per image, in the order in which the images first came: the last word on each counts.

    Raises InputError if there is no such store, it is something else or of another version, or it is empty.
    """
    file, given = store_file(path), Path(path).expanduser()
    require(
        file.is_file(),
        f"data.root={path}: there is no {'such file' if file == given else file.name}; python -m src.serve writes one "
        "when somebody corrects (the folder of the original data is data.mix.root)",
    )
    found: dict[bytes, StoredCorrection] = {}
    no_store = f"data.root={path} is no store of corrections"
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            require(bool(connection.execute("SELECT 1 FROM sqlite_master").fetchone()), f"{no_store}: it is empty")
            _check_version(connection, file)
            columns = "id, image, channels, height, width, correction, answer, model"
            for number, image, *shape, correction, answer, model in connection.execute(
                f"SELECT {columns} FROM corrections ORDER BY id"
            ):
                key = hashlib.sha256(image).digest()
                pixels = torch.from_numpy(np.frombuffer(image, np.uint8).reshape(shape).copy())
                last = found.get(key)
                earlier = (*last.earlier, (last.id, last.correction)) if last else ()
                found[key] = StoredCorrection(number, key, pixels, correction, answer, model, earlier)
    except InputError:
        raise
    except (sqlite3.Error, ValueError) as error:
        raise InputError(f"{no_store}, or damaged ({error})") from None
    require(bool(found), f"data.root={path} holds no corrections yet: correct some answers on the page of src.serve")
    return list(found.values())


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)
    require(
        version == VERSION, f"{path} is of version {version}: this project reads version {VERSION}; give another file"
    )
