"""Whether the other hosts of a run still answer: a collective would wait half an hour for one that is gone."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from src.cli.torchrun import agent_store, attempt

INTERVAL_S, SILENCE_S = 5.0, 40.0  # between signs of life, and without one until a process counts as dead


@contextmanager
def watch_hosts(lost: Callable[[str], None]) -> Iterator[None]:
    """Within this, each process of torchrun leaves a sign of life in its store, and looks for those of the others.

    lost: called in a thread, once, with what is missing; the main thread may hang in a collective, so it has to end the
    process.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(ended, lost), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(2 * INTERVAL_S)  # one that is in the middle of a look


def _watch(ended: threading.Event, lost: Callable[[str], None]) -> None:
    from torch.distributed import DistError

    prefix = f"alive/{attempt()}"
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    others = [other for other in range(size) if other != rank]
    seen, since = dict.fromkeys(others, b""), dict.fromkeys(others, time.monotonic())
    answered, count = time.monotonic(), 0
    store = None
    while True:
        try:
            store = store or agent_store(INTERVAL_S)
            count += 1
            store.set(f"{prefix}/{rank}", str(count))
            for other in others:
                sign = store.get(f"{prefix}/{other}") if store.check([f"{prefix}/{other}"]) else b""
                if sign != seen[other]:
                    seen[other], since[other] = sign, time.monotonic()
            answered = time.monotonic()
        except DistError:
            store = None
        now = time.monotonic()
        silent = [other for other in others if now - since[other] > SILENCE_S and seen[other] != b""]
        if now - answered > SILENCE_S or silent:
            what = f"process {silent[0]}" if silent else f"the host {os.environ['MASTER_ADDR']}"
            if not ended.is_set():
                lost(f"{what} has given no sign of life for {SILENCE_S:.0f} s")
            return
        if ended.wait(INTERVAL_S):
            return
