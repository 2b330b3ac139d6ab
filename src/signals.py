"""The signals that end a command, and how the processes that it starts leave them to it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]  # Windows lacks one


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Processes started here inherit that they are blocked; this process' other threads still receive them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_signals(worker: int) -> None:
    """Ctrl-C reaches a command's whole group: the command decides when its workers end, after the running step."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)  # drops one that came while they were blocked
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
