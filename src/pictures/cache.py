"""Images of large pictures, kept in the user's cache folder, so that they are decoded once."""

import hashlib
import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from math import prod
from pathlib import Path

import numpy as np
import PIL

log = logging.getLogger(__name__)
MIN_BYTES = 1 << 16  # of a file; smaller ones are decoded about as fast as they are looked up
VERSION = 1  # of what a reader makes of a picture: raise it when that changes
TIMEOUT_S = 5
BY_DIGEST = "SELECT notes, pixels FROM images WHERE digest = ? AND form = ?"
BY_STATE = """SELECT notes, pixels FROM files JOIN images USING (digest)
    WHERE path = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ? AND form = ?"""
TABLES = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, digest BLOB
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS images (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL, form TEXT NOT NULL, notes TEXT NOT NULL, pixels BLOB NOT NULL,
    UNIQUE (digest, form)
);
"""


def cache_file() -> Path:
    """pictures.sqlite in the user's cache folder: $XDG_CACHE_HOME, or ~/.cache."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return folder / "mnist-lightning-hydra" / "pictures.sqlite"


class PictureCache:
    """Images by the content of their pictures and the form they were read in, in one SQLite file.

    A file of the same path, size and times is not read again. Safe to use from several threads and processes; a cache
    that cannot be used is left alone, and the log says so once.
    shape, form: of the images, (C, H, W), and how they were read. limit_gb: size beyond which the oldest are removed.
    """

    def __init__(self, shape: tuple[int, int, int], form: str, limit_gb: float, path: Path | None = None):
        self.shape, self.limit = shape, int(limit_gb * 1e9)
        self.form = f"{VERSION} {form} {'x'.join(map(str, shape))} Pillow {PIL.__version__}"
        self.path, self.usable, self._exists = path or cache_file(), limit_gb > 0, False

    def read(self, path: Path, content: Callable[[], bytes], decode: Callable[[bytes], tuple]) -> tuple:
        """The image and the remarks on a picture: from the cache, or decoded and stored.

        content: reads the file; decode: makes (image uint8 (C, H, W), remarks) of it. What they raise gets out.
        """
        try:
            state = os.stat(path)
        except OSError:
            return decode(content())  # which says why
        if not self.usable or state.st_size < MIN_BYTES:
            return decode(content())
        key = os.fsencode(os.path.realpath(path)), state.st_size, state.st_mtime_ns, state.st_ctime_ns
        if (found := self._find(BY_STATE, (*key, self.form))) is not None:
            return found
        data = content()
        digest = hashlib.sha256(data).digest()
        found = self._find(BY_DIGEST, (digest, self.form))
        image, notes = found if found is not None else decode(data)
        self._store(key, digest, image if found is None else None, notes)
        return image, notes

    def _find(self, query: str, values: tuple) -> tuple | None:
        row = self._run(lambda connection: connection.execute(query, values).fetchone())
        if row is None or len(row[1]) != prod(self.shape):
            return None
        return np.frombuffer(row[1], np.uint8).reshape(self.shape).copy(), tuple(filter(None, row[0].split("\n")))

    def _store(self, key: tuple, digest: bytes, image: np.ndarray | None, notes: tuple[str, ...]) -> None:
        def store(connection: sqlite3.Connection) -> None:
            with connection:  # a transaction
                connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", (*key, digest))
                if image is not None:
                    values = digest, self.form, "\n".join(notes), image.tobytes()
                    insert = "INSERT OR REPLACE INTO images (digest, form, notes, pixels) VALUES (?, ?, ?, ?)"
                    connection.execute(insert, values)
                used, free, page = (
                    connection.execute(f"PRAGMA {name}").fetchone()[0]
                    for name in ("page_count", "freelist_count", "page_size")
                )
                if (used - free) * page > self.limit:
                    oldest = "SELECT id FROM images ORDER BY id LIMIT 1 + (SELECT count(*) FROM images) / 10"
                    connection.execute(f"DELETE FROM images WHERE id IN ({oldest})")
                    connection.execute("DELETE FROM files WHERE digest NOT IN (SELECT digest FROM images)")

        self._run(store)

    def _run(self, use: Callable[[sqlite3.Connection], tuple | None]) -> tuple | None:
        """The result of `use`, on a connection of its own, which neither threads nor forks share."""
        if not self.usable:
            return None
        try:
            if not self._exists:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=TIMEOUT_S)) as connection:
                if not self._exists:
                    connection.executescript(TABLES)
                    self._exists = True
                return use(connection)
        except (sqlite3.Error, OSError, ValueError) as error:
            self.usable = False
            log.info("%s is not used (%s): pictures are decoded anew; data.cache_gb=0 does without", self.path, error)
            return None
