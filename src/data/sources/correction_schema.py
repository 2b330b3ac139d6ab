"""The tables of a store of corrections: created, checked, brought from version 1 to 2."""

import re
import sqlite3
from pathlib import Path

from src.errors import InputError, require

VERSION = 2
COUNT_TABLES = "SELECT count(*) FROM sqlite_master"
CORRECTIONS = """CREATE TABLE corrections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    made_at TEXT NOT NULL,      -- UTC, ISO 8601
    image BLOB NOT NULL,        -- grey levels as the network read them
    channels INTEGER NOT NULL, height INTEGER NOT NULL, width INTEGER NOT NULL,
    picture BLOB NOT NULL,      -- the file as it was uploaded
    answer TEXT,                -- the predicted class, NULL for none
    correction TEXT NOT NULL,   -- the true class
    model TEXT NOT NULL         -- SHA-256 of the model file
)"""
NETWORKS = """CREATE TABLE networks (
    model TEXT PRIMARY KEY,     -- SHA-256 of the model file; its images are as large as those of its corrections
    classes TEXT NOT NULL,      -- names, a JSON list in the order of the outputs
    data_name TEXT,             -- of its training: data.name, or data.mix.name; NULL if the file does not say
    data_root TEXT              -- data.root, or data.mix.root
) WITHOUT ROWID"""
TABLES = {1: {"corrections": CORRECTIONS}, 2: {"corrections": CORRECTIONS, "networks": NETWORKS}}  # by version


def prepare_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables in an empty file, or add those that an older version lacks; all within a transaction.

    Raises InputError as `check_schema`; the file is then unchanged.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _value(connection, "PRAGMA user_version")
        present: dict[str, str] = {}
        if version or _value(connection, COUNT_TABLES):
            present = TABLES[check_schema(connection, path)]
        for name, statement in TABLES[VERSION].items():
            if name not in present:
                connection.execute(statement)
        if version != VERSION:
            connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def check_schema(connection: sqlite3.Connection, path: Path) -> int:
    """The version of a store. Raises InputError unless the file has its tables alone: no view, no trigger."""
    version = _value(connection, "PRAGMA user_version")
    if version not in TABLES:
        readable = " and ".join(map(str, TABLES))
        raise InputError(f"{path} has version {version}, this project reads {readable}: give another file")
    entries = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE name != 'sqlite_sequence'").fetchall()
    found = {(kind, name, _columns(sql)) for kind, name, sql in entries}
    expected = {("table", name, _columns(statement)) for name, statement in TABLES[version].items()}
    require(found == expected, f"{path} holds other things than the tables of corrections: give another file")
    return version


def _value(connection: sqlite3.Connection, query: str) -> int:
    return connection.execute(query).fetchone()[0]


def _columns(sql: str | None) -> str:
    """A statement without comments and with single spaces."""
    return " ".join(re.sub(r"--.*", "", sql or "").split())
