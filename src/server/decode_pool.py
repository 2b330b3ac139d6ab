"""Opening pictures on several cores: most of the time a decoder is in C and leaves Python to others."""

import os
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Lock, Thread

from src.pictures.decode import PictureError

MOST = 4  # threads; above it they wait for one another


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class DecodeTask:
    """One picture, opened by the first thread that gets to it.

    until: time.monotonic() from when on nobody wants it. found: what `call` made of it, or what that raised.
    """

    __slots__ = ("_claim", "_ready", "call", "found", "picture", "until")

    def __init__(self, call: Callable[[bytes], object], picture: bytes, until: float):
        self.call, self.picture, self.until, self.found = call, picture, until, None
        self._claim, self._ready = Lock(), Lock()
        self._ready.acquire()

    def run(self) -> None:
        """Open it, unless another thread does or has."""
        if self._claim.acquire(blocking=False):
            try:
                self.found = self.call(self.picture)
            except Exception as error:
                self.found = error
            finally:
                self._ready.release()

    def wait(self) -> object:
        """What became of it, once it is there; a PictureError is returned, another error raised."""
        with self._ready:
            if isinstance(self.found, Exception) and not isinstance(self.found, PictureError):
                raise self.found
            return self.found


class DecodePool:
    """Threads that open pictures in the order in which they came; whoever needs one sooner opens it himself.

    threads: with that one.
    """

    def __init__(self, threads: int | None = None):
        self._pending: SimpleQueue[DecodeTask | None] = SimpleQueue()
        self._helpers = [
            Thread(target=self._help, name=f"opener-{number}", daemon=True)
            for number in range(1, threads or min(MOST, cores()))
        ]
        for helper in self._helpers:
            helper.start()

    def begin(self, call: Callable[[bytes], object], pictures: Sequence[bytes], until: float) -> list[DecodeTask]:
        """Have them opened from now on."""
        begun = [DecodeTask(call, picture, until) for picture in pictures]
        if self._helpers:
            for opening in begun:
                self._pending.put(opening)
        return begun

    def stop(self) -> None:
        """Let the helpers end."""
        for _ in self._helpers:
            self._pending.put(None)

    def _help(self) -> None:
        while (opening := self._pending.get()) is not None:
            if opening.until > time.monotonic():
                opening.run()


def finish_decoding(begun: Sequence[DecodeTask]) -> list:
    """What became of each picture (`Opening.wait`); those that no thread has begun are opened by this one."""
    for opening in begun:
        opening.run()
    return [opening.wait() for opening in begun]
