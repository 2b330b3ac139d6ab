"""Users' corrections of predictions: a store that the server writes and training reads."""

import errno
import hashlib
import sqlite3
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from src.data.sources.correction_networks import CorrectedNetwork, from_columns, to_columns
from src.data.sources.correction_schema import COUNT_TABLES, check_schema, prepare_schema
from src.errors import InputError, is_integer, require

FILE_NAME = "feedback.sqlite"
TIMEOUT_S = 5  # for a file that another process writes
MAX_ROWS, MAX_MEGABYTES = 20_000, 512
COUNT_ROWS = "SELECT count(*) FROM corrections"
MAX_NAME_LENGTH = 200  # characters of a class name


class StoreFullError(InputError):
    """The store has reached its limit."""


class StoredCorrection(NamedTuple):
    """One corrected image, uint8 (C, H, W) as the network read it, and its true class.

    id: of its last row; digest: SHA-256 of the image's bytes, equal for equal images; superseded: ids and classes of
    its earlier rows, which no longer count; networks: that answered, of each of its rows, the last one last; None where
    the store does not say.
    """

    id: int
    digest: bytes
    image: Tensor
    correction: str
    prediction: str | None
    model: str
    superseded: tuple[tuple[int, str], ...] = ()
    networks: tuple[CorrectedNetwork | None, ...] = (None,)


class CorrectionStore:
    """One SQLite file, safe to use from several threads and processes.

    path: the file, or the folder of feedback.sqlite; created with the first correction.
    rows, megabytes: limits of the store; beyond them new corrections are refused, old ones stay.
    """

    def __init__(self, path: Path | str, rows: int = MAX_ROWS, megabytes: int = MAX_MEGABYTES):
        self.path, self.rows, self.megabytes = store_path(path), rows, megabytes
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def add(
        self,
        image: Tensor | np.ndarray,
        picture: bytes,
        prediction: str | None,
        correction: str,
        model: str = "",
        network: CorrectedNetwork | None = None,
    ) -> int:
        """Store one correction; returns its id, from 1.

        image: uint8 (C, H, W), as the network read it; picture: the uploaded file; model: SHA-256 of the model file;
        network: what that file says of itself, stored once.
        Raises StoreFullError if the store is full, InputError if it is not writable or the values are invalid.
        """
        array = np.ascontiguousarray(image.numpy() if isinstance(image, Tensor) else image)
        require(
            array.dtype == np.uint8 and array.ndim == 3 and array.size > 0,
            f"a correction's image is {array.dtype} {array.shape}: give uint8 (channels, height, width)",
        )
        valid = isinstance(correction, str) and 0 < len(correction) <= MAX_NAME_LENGTH
        require(valid, f"a correction is a class name of 1 to {MAX_NAME_LENGTH} characters")
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        row = (now, array.tobytes(), *array.shape, bytes(picture), prediction, correction, model)
        with self._lock:
            try:
                connection = self._open()
                with connection:  # a transaction
                    connection.execute("BEGIN IMMEDIATE")
                    self._check_limits(connection)
                    if network is not None:
                        values = (model, *to_columns(network))
                        connection.execute("INSERT OR IGNORE INTO networks VALUES (?, ?, ?, ?)", values)
                    cursor = connection.execute(
                        "INSERT INTO corrections (made_at, image, channels, height, width, picture, answer, "
                        "correction, model) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        row,
                    )
                    assert cursor.lastrowid is not None  # after an INSERT
                    return cursor.lastrowid
            except (sqlite3.Error, OSError) as error:
                raise InputError(f"{self.path} cannot be written ({error}): give another file") from None

    def count(self) -> int:
        """Number of rows."""
        with self._lock:
            if self._connection is None and not self.path.exists():
                return 0
            try:
                return _value(self._open(), COUNT_ROWS)
            except (sqlite3.Error, OSError) as error:
                raise InputError(f"{self.path} cannot be read ({error})") from None

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and not self.path.is_file():  # SQLite would wait for whoever writes into a pipe
                raise OSError(errno.EINVAL, "it is no regular file")
            connection = sqlite3.connect(self.path, timeout=TIMEOUT_S, check_same_thread=False, isolation_level=None)
            try:
                _use_write_ahead_log(connection)
                prepare_schema(connection, self.path)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _check_limits(self, connection: sqlite3.Connection) -> None:
        count = _value(connection, COUNT_ROWS)
        size = _value(connection, "PRAGMA page_count") * _value(connection, "PRAGMA page_size")
        if count >= self.rows or size >= self.megabytes * 1_000_000:
            raise StoreFullError(
                f"{self.path} is full ({count:,} corrections, {size / 1e6:,.0f} MB): train with data=feedback, "
                "then move the file away"
            )


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Change the mode of a file, for which SQLite does not wait while another process does the same."""
    until = time.monotonic() + TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def store_path(path: Path | str) -> Path:
    """The store's file: `path` itself, or feedback.sqlite in the folder `path`."""
    path = Path(path).expanduser()
    return path / FILE_NAME if path.is_dir() else path


def read_corrections(path: Path | str) -> list[StoredCorrection]:
    """All corrections, one per distinct image, in the order of their first rows; the last row of an image counts.

    Raises InputError if there is no file, it is not a store, of another version, or empty.
    """
    file, typed = store_path(path), Path(path).expanduser()
    require(
        file.is_file(),
        f"data.root={path}: there is no {'such file' if file == typed else file.name}; python -m src.serve writes one "
        "with the first correction (the folder of the original data is data.mix.root)",
    )
    found: dict[bytes, StoredCorrection] = {}
    no_store = f"data.root={path} is no store of corrections"
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=TIMEOUT_S)) as connection:
            connection.execute("BEGIN")  # one state of a file that a server may be writing
            require(_value(connection, COUNT_TABLES) > 0, f"{no_store}: it is empty")
            networks = _read_networks(connection) if check_schema(connection, file) > 1 else {}
            count, size = _value(connection, COUNT_ROWS), file.stat().st_size
            fine = count <= MAX_ROWS and size <= 2 * MAX_MEGABYTES * 1_000_000  # a write-ahead log is beside it
            require(fine, f"{no_store}: it has {count:,} rows in {size / 1e6:,.0f} MB, the server keeps {MAX_ROWS:,}")
            columns = "id, image, channels, height, width, correction, answer, model"
            for row_id, image, *shape, correction, prediction, model in connection.execute(
                f"SELECT {columns} FROM corrections ORDER BY id"
            ):
                if not _is_correction(image, shape, correction, prediction, model):
                    raise ValueError(f"row {row_id} has values of other types or sizes")
                digest = hashlib.sha256(image).digest()
                pixels = torch.from_numpy(np.frombuffer(image, np.uint8).reshape(shape).copy())
                last = found.get(digest)
                superseded = (*last.superseded, (last.id, last.correction)) if last else ()
                answered = (*(last.networks if last else ()), networks.get(model))
                found[digest] = StoredCorrection(
                    row_id, digest, pixels, correction, prediction, model, superseded, answered
                )
    except InputError:
        raise
    except (sqlite3.Error, ValueError) as error:
        raise InputError(f"{no_store}, or damaged ({error})") from None
    require(bool(found), f"data.root={path} holds no corrections yet: correct predictions on the page of src.serve")
    return list(found.values())


def _read_networks(connection: sqlite3.Connection) -> dict[str, CorrectedNetwork]:
    """The networks that answered, by SHA-256 of their files."""
    rows = connection.execute("SELECT model, classes, data_name, data_root FROM networks")
    return {model: from_columns(*columns) for model, *columns in rows}


def _value(connection: sqlite3.Connection, query: str) -> int:
    return connection.execute(query).fetchone()[0]


def _is_correction(image: object, shape: list, correction: object, prediction: object, model: object) -> bool:
    """Whether a row holds what `CorrectionStore.add` writes: SQLite keeps any type in any column."""
    pixels = isinstance(image, bytes) and all(map(is_integer, shape)) and min(shape) > 0 and len(image) == prod(shape)
    named = isinstance(correction, str) and 0 < len(correction) <= MAX_NAME_LENGTH
    return pixels and named and isinstance(prediction, str | None) and isinstance(model, str)
