"""Opening the pictures of a batch on several cores: half of the time a decoder is in C and leaves Python to others."""

import os
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread

from src.data.picture import PictureError

MOST = 4  # threads; above it they wait for one another


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Opener:
    """Calls a function on many pictures, in the caller's thread and in helpers that take the next one as they are free.

    threads: the caller's included.
    """

    def __init__(self, threads: int | None = None):
        self._tasks: SimpleQueue[tuple | None] = SimpleQueue()
        self._done: SimpleQueue[None] = SimpleQueue()
        self._helpers = [
            Thread(target=self._help, name=f"opener-{number}", daemon=True)
            for number in range(1, threads or min(MOST, cores()))
        ]
        for helper in self._helpers:
            helper.start()

    def open(self, call: Callable[[bytes], object], pictures: Sequence[bytes]) -> list:
        """What `call` makes of each picture, or the PictureError that it raises. Another error of a picture is raised
        once the others are done."""
        found: list = [None] * len(pictures)
        task = call, deque(enumerate(pictures)), found
        called = min(len(self._helpers), len(pictures) - 1)
        for _ in range(called):
            self._tasks.put(task)
        _take(*task)
        for _ in range(called):
            self._done.get()
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, PictureError):
                raise one
        return found

    def stop(self) -> None:
        """Let the helpers end."""
        for _ in self._helpers:
            self._tasks.put(None)

    def _help(self) -> None:
        while (task := self._tasks.get()) is not None:
            _take(*task)
            self._done.put(None)


def _take(call: Callable, pending: deque, found: list) -> None:
    while pending:
        try:
            place, picture = pending.popleft()
        except IndexError:  # another thread was faster
            return
        try:
            found[place] = call(picture)
        except Exception as error:
            found[place] = error
