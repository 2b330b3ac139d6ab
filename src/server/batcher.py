"""The thread that reads pictures: whatever waits is read and classified in one go.

While one batch is worked on, the next gathers by itself, and the busier the server the larger the batch. Clients that
were answered together ask again within a fraction of a millisecond; that long a busy server waits for them, for a batch
costs as much as three pictures, and Python lets the loop that talks to clients and this thread work in turns only. A
request that comes alone waits for nobody. Pictures are opened as they come, by other threads.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from queue import SimpleQueue
from threading import Thread

from src.pictures.decode import PictureError
from src.pictures.reader import ReaderOutput
from src.server.admission import Admission, left
from src.server.decode_pool import DecodePool, DecodeTask, finish_decoding
from src.server.errors import Refusal
from src.server.metrics import Metrics
from src.server.model import ServedModel

log = logging.getLogger(__name__)
QUIET, QUIET_S = 60, 0.005  # no new request in so many passes of the loop, or for so long: no more are on their way


class Job:
    """The pictures of one request, and what became of each: an answer, or the PictureError that it raised.

    until: time.monotonic() from when on nobody waits for it. keep: also keep what was read of the pictures. served: the
    network that answers it, the one that there was as it came.
    """

    __slots__ = ("answers", "begun", "future", "keep", "look", "pictures", "readings", "served", "top_k", "until")

    def __init__(self, pictures: Sequence[bytes], until: float, top_k: int = 3, look: bool = False, keep: bool = False):
        self.pictures, self.until, self.top_k, self.look, self.keep = pictures, until, top_k, look, keep
        self.future: asyncio.Future | None = None
        self.begun: list[DecodeTask] = []
        self.answers: list[dict | PictureError] = []
        self.readings: list[ReaderOutput | None] = []
        self.served: ServedModel | None = None


class Batcher:
    """Gathers `Work` in the event loop, does it in its own thread, and wakes the loop once per batch.

    served: the network; may be replaced at any time, for requests that come from then on. batch: pictures in one go.
    working: pictures of the batch that the thread has; it and all that gathers belong to the loop.
    """

    def __init__(self, served: ServedModel, admission: Admission, metrics: Metrics, batch: int):
        self.served, self.admission, self.metrics, self.batch = served, admission, metrics, batch
        self.working = 0
        self._gathered: deque[Job] = deque()
        self._expected = 1
        self._opener = DecodePool()
        self._queue: SimpleQueue[list[Job] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Pictures that no batch has taken yet."""
        return max(0, self.admission.taken - self.working)

    def stop(self, seconds: float = 1.0) -> None:
        """Let the thread end after what it was given."""
        self._queue.put(None)
        self._thread.join(seconds)
        self._opener.stop()

    async def do(self, work: Job) -> Job:
        """Have it done; to be awaited in the event loop.

        Raises Refusal: 429 without a place, 504 past its deadline. Whatever else goes wrong is a fault of ours.
        """
        count = len(work.pictures)
        self.admission.enter(count)
        loop = asyncio.get_running_loop()
        work.future, work.served = loop.create_future(), self.served
        work.begun = self._opener.begin(self.served.open, work.pictures, work.until)
        self._gathered.append(work)
        if not self.working and len(self._gathered) == 1:
            loop.call_soon(self._pass)
        timer = loop.call_later(left(work.until), _late, work.future)
        try:
            await work.future
        finally:
            timer.cancel()
        return work

    def _pass(self, seen: int = 0, quiet: int = 0, last: float = 0.0) -> None:
        """Called in each pass of the loop while the thread is free and there is work, until no more is to be expected.

        seen: requests that had gathered by the last pass. quiet: passes without another one. last: when the last came,
        time.monotonic().
        """
        there, now = len(self._gathered), time.monotonic()
        quiet, last = (quiet + 1, last) if there == seen else (0, now)
        room = self.admission.taken < self.admission.places
        if there < self._expected and room and quiet < QUIET and now - last < QUIET_S:
            asyncio.get_running_loop().call_soon(self._pass, there, quiet, last)
            return
        batch = [self._gathered.popleft()]
        count = len(batch[0].pictures)
        while self._gathered and self._gathered[0].served is batch[0].served:
            more = len(self._gathered[0].pictures)
            if count + more > self.batch:
                break
            batch.append(self._gathered.popleft())
            count += more
        self.working = count
        self._queue.put(batch)

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            self._hand_back(batch, self._attempt(batch))

    def _attempt(self, batch: list[Job]) -> list[BaseException | None]:
        """Do a batch. Where something unforeseen happens each request is tried alone: only its cause is hit."""
        now = time.monotonic()
        alive = [work for work in batch if work.until > now]
        errors: dict[int, BaseException] = {}
        try:
            if alive:
                self._do(alive)
        except Exception as error:
            if len(alive) == 1:
                errors[id(alive[0])] = error
            else:
                for work in alive:
                    try:
                        self._do([work])
                    except Exception as alone:
                        errors[id(work)] = alone
        return [errors.get(id(work)) for work in batch]

    def _do(self, batch: list[Job]) -> None:
        served = batch[0].served
        opened = iter(finish_decoding([opening for work in batch for opening in work.begun]))
        pages, whose = [], []
        for work in batch:
            count = len(work.pictures)
            work.answers, work.readings = [{}] * count, [None] * count
            for place, picture in zip(range(count), opened, strict=False):
                if isinstance(picture, PictureError):
                    work.answers[place] = picture
                else:
                    pages.append(served.page(picture))
                    whose.append((work, place))
        readings = served.reader.read(pages)
        if not readings:
            return
        answers = served.answer(readings, served.classify(readings), max(work.top_k for work, _ in whose))
        for (work, place), reading, said in zip(whose, readings, answers, strict=True):
            for digit in said["digits"]:
                del digit.get("top", [])[work.top_k :]  # another request of the batch may want more
            if work.look:
                served.look(reading, said)
            work.answers[place] = said
            work.readings[place] = reading if work.keep else None

    def _hand_back(self, batch: list[Job], errors: list[BaseException | None]) -> None:
        loop = batch[0].future.get_loop()

        def settle() -> None:
            self.admission.leave(self.working)
            self.metrics.batched(self.working)
            self.working = 0
            self._expected = min(self.batch, len(batch) + len(self._gathered))
            if self._gathered:
                loop.call_soon(self._pass)
            for work, error in zip(batch, errors, strict=True):
                if work.future.done():
                    continue
                if error is not None:
                    work.future.set_exception(error)
                elif not work.answers:
                    _late(work.future)
                else:
                    work.future.set_result(None)

        try:
            loop.call_soon_threadsafe(settle)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.debug("answers after the end: %d", len(batch))


def _late(future: asyncio.Future) -> None:
    if not future.done():
        future.set_exception(Refusal(504, "the answer was not ready before the deadline", headers={"retry-after": "1"}))
