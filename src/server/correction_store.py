"""The store of corrections, checked when the server starts: a file that is not writable is an error at once."""

import sqlite3
from contextlib import closing
from pathlib import Path

from src.data.sources.corrections import CorrectionStore
from src.errors import InputError, require

COLUMNS = {"id", "made_at", "image", "channels", "height", "width", "picture", "answer", "correction", "model"}
ACCEPTED = (
    "give a writable file or its folder; corrections of earlier servers stay in it; feedback=null rejects corrections"
)


def open_store(feedback: str) -> CorrectionStore:
    """The store, opened for writing; created if it does not exist.

    feedback: a file, or the folder of feedback.sqlite. Raises InputError if it is not writable or not a store.
    """
    store = CorrectionStore(Path(feedback).expanduser())
    try:
        store.path.parent.mkdir(parents=True, exist_ok=True)
        store.path.touch()
        store.count()  # takes the write lock, and creates the table in an empty file
        with closing(sqlite3.connect(f"{store.path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            columns = {row[1] for row in connection.execute("PRAGMA table_info(corrections)")}
        require(columns >= COLUMNS, "its table of corrections has other columns")
    except (OSError, ValueError, sqlite3.Error, InputError) as error:
        store.close()
        cause = error.__context__ if isinstance(error, InputError) and error.__context__ else error
        why = getattr(cause, "strerror", None) or cause
        raise InputError(f"feedback={feedback} cannot take corrections ({why}): {ACCEPTED}") from None
    return store
