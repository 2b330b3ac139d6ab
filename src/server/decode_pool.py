"""Decode pictures on several cores: decoders spend most of their time in C code, without the GIL."""

import os
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Lock, Thread

from src.pictures.decode import PictureError

MAX_THREADS = 4  # the batcher's included; more wait for each other


class DecodeTask:
    """One picture, decoded by the first thread that gets to it.

    deadline: of time.monotonic(); no worker starts later. result: of `decode`, or the exception it raised.
    """

    __slots__ = ("_claim", "_ready", "deadline", "decode", "picture", "result")

    def __init__(self, decode: Callable[[bytes], object], picture: bytes, deadline: float):
        self.decode, self.picture, self.deadline, self.result = decode, picture, deadline, None
        self._claim, self._ready = Lock(), Lock()
        self._ready.acquire()

    def run(self) -> None:
        """Decode it, unless another thread has started to."""
        if self._claim.acquire(blocking=False):
            try:
                self.result = self.decode(self.picture)
            except Exception as error:
                self.result = error
            finally:
                self._ready.release()

    def wait(self) -> object:
        """The result, once it is there; a PictureError is returned, other exceptions are raised."""
        with self._ready:
            if isinstance(self.result, Exception) and not isinstance(self.result, PictureError):
                raise self.result
            return self.result


class DecodePool:
    """Threads that decode pictures in order of arrival; the batcher's thread decodes what they have not started."""

    def __init__(self):
        self._queue: SimpleQueue[DecodeTask | None] = SimpleQueue()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._workers = [
            Thread(target=self._work, name=f"decoder-{number}", daemon=True)
            for number in range(1, min(MAX_THREADS, cores))
        ]
        for worker in self._workers:
            worker.start()

    def submit(self, decode: Callable[[bytes], object], pictures: Sequence[bytes], deadline: float) -> list[DecodeTask]:
        """Start to decode pictures; one task each."""
        tasks = [DecodeTask(decode, picture, deadline) for picture in pictures]
        if self._workers:
            for task in tasks:
                self._queue.put(task)
        return tasks

    def stop(self) -> None:
        """End the threads after the tasks that are queued."""
        for _ in self._workers:
            self._queue.put(None)

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            if task.deadline > time.monotonic():
                task.run()
