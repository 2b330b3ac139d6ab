"""What stays in memory from one job of a sweep to the next: a process reads each split once, and measures it once."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from src.data.source import Split

MOST = 8  # three per data set: its two splits and the statistics of what is trained on
_kept: OrderedDict[tuple[str, str], object] | None = None


@contextmanager
def cached_splits() -> Iterator[None]:
    """Within this, `read_once` remembers; what it has read stays for the next time."""
    global _kept
    before, _kept = _kept, _memory
    try:
        yield
    finally:
        _kept = before


_memory: OrderedDict[tuple[str, str], object] = OrderedDict()


def cached(contents: str, part: str, read: Callable[[], Any]) -> Any:
    """What `read` gives, or gave the last time for the same `contents` and `part`; pictures that are decoded when they
    are asked for are not kept."""
    key = (contents, part)
    if _kept is not None and key in _kept:
        _kept.move_to_end(key)
        return _kept[key]
    value = read()
    if _kept is not None and (not isinstance(value, Split) or isinstance(value.images, Tensor)):
        _kept[key] = value
        while len(_kept) > MOST:
            _kept.popitem(last=False)
    return value
