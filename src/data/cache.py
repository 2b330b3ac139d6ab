"""Splits and statistics that stay in memory from one job of a sweep to the next."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from src.data.source import Split

MAX_ENTRIES = 8  # of a data set: its two splits, the statistics of its training images, accuracies on it
_entries: OrderedDict[tuple[str, str], Any] = OrderedDict()
_enabled = False


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
    value = read()
    if _enabled and (not isinstance(value, Split) or isinstance(value.images, Tensor)):
        _entries[key] = value
        while len(_entries) > MAX_ENTRIES:
            _entries.popitem(last=False)
    return value
