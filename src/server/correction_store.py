"""The store of corrections as a server opens it: what cannot be written is said at the start, not to who corrects."""

import sqlite3
from contextlib import closing
from pathlib import Path

from src.data.sources.corrections import Feedback
from src.errors import InputError, require

COLUMNS = {"id", "made_at", "image", "channels", "height", "width", "picture", "answer", "correction", "model"}
ACCEPTED = (
    "give a file of a folder that can be written, or the folder: what an earlier server wrote there is kept; "
    "feedback=null takes no corrections"
)


def open_store(given: str) -> Feedback:
    """The store, opened for writing; made where there is none yet.

    given: a file, or the folder that holds feedback.sqlite. Raises InputError if it cannot be written, or is another
    file.
    """
    store = Feedback(Path(given).expanduser())
    try:
        store.path.parent.mkdir(parents=True, exist_ok=True)
        store.path.touch()
        store.count()  # takes the lock for writing, and lays an empty file out
        with closing(sqlite3.connect(f"{store.path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            found = {row[1] for row in connection.execute("PRAGMA table_info(corrections)")}
        require(found >= COLUMNS, "it has another table of corrections")
    except (OSError, ValueError, sqlite3.Error, InputError) as error:
        store.close()
        cause = error.__context__ if isinstance(error, InputError) and error.__context__ else error
        why = getattr(cause, "strerror", None) or cause
        raise InputError(f"feedback={given} cannot take corrections ({why}): {ACCEPTED}") from None
    return store
