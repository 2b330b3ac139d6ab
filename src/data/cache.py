"""Splits and statistics that stay in memory from one job of a sweep to the next."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor

from src.data.source import Split

MAX_ENTRIES = 8  # of a data set: its two splits, the statistics of its training images, accuracies on it
_entries: OrderedDict[tuple[str, str], Any] = OrderedDict()
_enabled = False
_store: "SharedStore | None" = None


class SharedStore(Protocol):
    """Splits that several processes use."""

    def get(self, key: tuple[str, str]) -> Split | None:
        """The split of a key; None if the caller is to read it, and to put it here."""
        ...

    def put(self, key: tuple[str, str], split: Split) -> None: ...


def share(store: SharedStore | None) -> None:
    """Look for splits of this process in a store before they are read, and put those there that were read."""
    global _store
    _store = store


@contextmanager
def cache_enabled() -> Iterator[None]:
    """Within this context `cached` stores values and finds them; they outlive the context."""
    global _enabled
    before, _enabled = _enabled, True
    try:
        yield
    finally:
        _enabled = before


def cached(data_key: str, part: str, read: Callable[[], Any]) -> Any:
    """The value of `read()`, stored while the cache is enabled, unless its pictures are decoded at each access."""
    key = (data_key, part)
    if _enabled and key in _entries:
        _entries.move_to_end(key)
        return _entries[key]
    value = _read_shared(key, read) if _enabled and _store is not None and part in ("train", "test") else read()
    if _enabled and (not isinstance(value, Split) or isinstance(value.images, Tensor)):
        _entries[key] = value
        while len(_entries) > MAX_ENTRIES:
            _entries.popitem(last=False)
    return value


def _read_shared(key: tuple[str, str], read: Callable[[], Split]) -> Split:
    assert _store is not None
    if (found := _store.get(key)) is not None:
        return found
    split = read()
    if isinstance(split.images, Tensor):
        _store.put(key, split)
    return split
