"""The thread that reads pictures: whatever waits is read and classified in one go.

No request waits for others to come: while one batch is worked on, the next gathers by itself, and the busier the server
the larger the batch. Opening a picture, the network and the loop that talks to clients share two cores this way.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from threading import Thread

from src.data.picture import PictureError
from src.data.reader import Reading
from src.server.admission import Admission, left
from src.server.errors import Refusal
from src.server.metrics import Metrics
from src.server.opening import Opener
from src.server.served import Served

log = logging.getLogger(__name__)


class Work:
    """The pictures of one request, and what became of each: an answer, or the PictureError that it raised.

    until: time.monotonic() from when on nobody waits for it. keep: also keep what was read of the pictures.
    """

    __slots__ = ("answers", "future", "keep", "look", "pictures", "readings", "served", "top_k", "until")

    def __init__(self, pictures: Sequence[bytes], until: float, top_k: int = 3, look: bool = False, keep: bool = False):
        self.pictures, self.until, self.top_k, self.look, self.keep = pictures, until, top_k, look, keep
        self.future: asyncio.Future | None = None
        self.answers: list[dict | PictureError] = []
        self.readings: list[Reading | None] = []
        self.served: Served | None = None


class Engine:
    """Takes `Work` from the event loop, does it in its own thread, and wakes the loop once per batch.

    served: the network; may be replaced at any time, which the next batch sees. batch: pictures in one go.
    """

    def __init__(self, served: Served, admission: Admission, metrics: Metrics, batch: int):
        self.served, self.admission, self.metrics, self.batch = served, admission, metrics, batch
        self.working = 0
        self._opener = Opener()
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
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

    async def do(self, work: Work) -> Work:
        """Have it done; to be awaited in the event loop.

        Raises Refusal: 429 without a place, 504 past its deadline. Whatever else goes wrong is a fault of ours.
        """
        count = len(work.pictures)
        self.admission.enter(count)
        loop = asyncio.get_running_loop()
        work.future = loop.create_future()
        self._queue.put(work)
        timer = loop.call_later(left(work.until), _late, work.future)
        try:
            await work.future
        finally:
            timer.cancel()
        return work

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            batch, count, ended = [work], len(work.pictures), False
            while count < self.batch:
                try:
                    more = self._queue.get_nowait()
                except Empty:
                    break
                if more is None:
                    ended = True
                    break
                batch.append(more)
                count += len(more.pictures)
            self.working = count
            errors = self._attempt(batch)
            self.working = 0
            self._hand_back(batch, errors, count)
            if ended:
                break

    def _attempt(self, batch: list[Work]) -> list[BaseException | None]:
        """Do a batch. Where something unforeseen happens each request is tried alone: only its cause is hit."""
        now = time.monotonic()
        alive = [work for work in batch if work.until > now]
        errors: dict[int, BaseException] = {}
        try:
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

    def _do(self, batch: list[Work]) -> None:
        served = self.served
        pictures = [picture for work in batch for picture in work.pictures]
        opened = iter(self._opener.open(served.open, pictures))
        pages, whose = [], []
        for work in batch:
            count = len(work.pictures)
            work.served, work.answers, work.readings = served, [{}] * count, [None] * count
            for place, picture in zip(range(count), opened, strict=False):
                if isinstance(picture, PictureError):
                    work.answers[place] = picture
                else:
                    pages.append(served.page(picture))
                    whose.append((work, place))
        readings = served.reader.read(pages)
        if not readings:
            return
        probs = served.classify(readings)
        start = 0
        for (work, place), reading in zip(whose, readings, strict=True):
            end = start + len(reading.images)
            (said,) = served.answer([reading], probs[start:end], work.top_k)
            if work.look:
                served.look(reading, said)
            work.answers[place] = said
            work.readings[place] = reading if work.keep else None
            start = end

    def _hand_back(self, batch: list[Work], errors: list[BaseException | None], count: int) -> None:
        def settle() -> None:
            self.admission.leave(count)
            self.metrics.batched(count)
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
            batch[0].future.get_loop().call_soon_threadsafe(settle)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.debug("answers after the end: %d", count)


def _late(future: asyncio.Future) -> None:
    if not future.done():
        future.set_exception(Refusal(504, "the answer was not ready before the deadline", headers={"retry-after": "1"}))
