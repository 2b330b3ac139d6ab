"""Compute concurrent requests in batches, in a thread beside the event loop.

While one batch is computed the next one gathers, so that a busier server has larger batches. Clients that were answered
together send their next requests within a fraction of a millisecond; a busy server waits that long for them, because a
batch costs as much as three pictures, and because the GIL lets the event loop and this thread run in turns only. A
request that comes alone does not wait. Pictures are decoded as they arrive (`DecodePool`).
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread

from src.pictures.decode import PictureError
from src.pictures.reader import NetworkInput
from src.server.decode_pool import DecodePool, DecodeTask
from src.server.errors import HTTPError
from src.server.metrics import Metrics
from src.server.model import ServedModel

log = logging.getLogger(__name__)
# A batch is complete after so many iterations of the event loop, or so many seconds, without a new request.
QUIET_ITERATIONS, QUIET_S = 60, 0.005


class Admission:
    """Count the pictures that wait or are being classified; only the event loop's thread uses it.

    capacity: the most pictures at a time. A picture counts until its work is done, even if its client has already got
    a 504: the limit is on work, not on requests.
    """

    def __init__(self, capacity: int):
        self.capacity, self.in_use = capacity, 0
        self.closed = False

    def check(self, count: int = 1) -> None:
        """Raise HTTPError: 429 if `count` more pictures do not fit, 503 once the server shuts down."""
        if self.closed:
            raise HTTPError(503, "the server is shutting down", "draining", {"retry-after": "1"})
        if self.in_use + count > self.capacity:
            raise HTTPError(429, "the server is at capacity: try again in a second", headers={"retry-after": "1"})


@dataclass(slots=True, eq=False)
class Job:
    """The pictures of one request, and the prediction record of each, or the PictureError it raised.

    deadline: of time.monotonic(); the request fails then. look: explain the predictions too. keep_inputs: store what
    the network reads of each picture in `inputs`. model: the network that was served when the request came. error: an
    unexpected exception.
    """

    pictures: Sequence[bytes]
    deadline: float
    top_k: int = 3
    look: bool = False
    keep_inputs: bool = False
    future: asyncio.Future | None = None
    model: ServedModel | None = None
    tasks: Sequence[DecodeTask] = ()
    records: Sequence[dict | PictureError] = ()
    inputs: Sequence[NetworkInput | None] = ()
    error: Exception | None = None


class Batcher:
    """Gather jobs in the event loop, compute them in a thread, and wake the loop once per batch.

    model: the network; may be replaced at any time, for requests that come later. max_batch: pictures per batch.
    in_flight: pictures of the batch that the thread computes. Only the event loop's thread changes the attributes.
    """

    def __init__(self, model: ServedModel, admission: Admission, metrics: Metrics, max_batch: int):
        self.model, self.admission, self.metrics, self.max_batch = model, admission, metrics, max_batch
        self.in_flight = 0
        self._gathered: deque[Job] = deque()
        self._expected_jobs = 1
        self._decoders = DecodePool()
        self._queue: SimpleQueue[list[Job] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Pictures that are in no batch yet."""
        return max(0, self.admission.in_use - self.in_flight)

    def stop(self, timeout_s: float = 1.0) -> None:
        """End the threads after the batches that are queued."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        self._decoders.stop()

    async def run(self, job: Job) -> Job:
        """Compute a job; to be awaited in the event loop.

        Raises HTTPError: 429 if the server is at capacity, 504 at the deadline. Other exceptions are bugs.
        """
        self.admission.check(len(job.pictures))
        self.admission.in_use += len(job.pictures)
        loop = asyncio.get_running_loop()
        job.future, job.model = loop.create_future(), self.model
        job.tasks = self._decoders.submit(self.model.decode, job.pictures, job.deadline)
        self._gathered.append(job)
        if not self.in_flight and len(self._gathered) == 1:
            loop.call_soon(self._dispatch)
        timer = loop.call_later(max(0.0, job.deadline - time.monotonic()), _time_out, job.future)
        try:
            await job.future
        finally:
            timer.cancel()
        return job

    def _dispatch(self, seen: int = 0, quiet: int = 0, last: float = 0.0) -> None:
        """Hand a batch to the idle thread once no more jobs are expected; until then run again in the next iteration.

        seen: jobs gathered at the last iteration. quiet: iterations without a new one. last: when the last one came,
        time.monotonic().
        """
        gathered, now = len(self._gathered), time.monotonic()
        quiet, last = (quiet + 1, last) if gathered == seen else (0, now)
        has_room = self.admission.in_use < self.admission.capacity
        if gathered < self._expected_jobs and has_room and quiet < QUIET_ITERATIONS and now - last < QUIET_S:
            asyncio.get_running_loop().call_soon(self._dispatch, gathered, quiet, last)
            return
        batch = [self._gathered.popleft()]
        count = len(batch[0].pictures)
        while self._gathered and self._gathered[0].model is batch[0].model:
            more = len(self._gathered[0].pictures)
            if count + more > self.max_batch:
                break
            batch.append(self._gathered.popleft())
            count += more
        self.in_flight = count
        self._queue.put(batch)

    def _work(self) -> None:
        while (batch := self._queue.get()) is not None:
            now = time.monotonic()
            alive = [job for job in batch if job.deadline > now]
            if alive:
                _compute_batch(alive)
            self._deliver(batch)

    def _deliver(self, batch: list[Job]) -> None:
        loop = batch[0].future.get_loop()

        def resolve() -> None:
            self.admission.in_use -= self.in_flight
            self.metrics.batches.observe(self.in_flight)
            self.in_flight = 0
            self._expected_jobs = min(self.max_batch, len(batch) + len(self._gathered))
            if self._gathered:
                loop.call_soon(self._dispatch)
            for job in batch:
                if job.future.done():
                    continue
                if job.error is not None:
                    job.future.set_exception(job.error)
                elif not job.records:
                    _time_out(job.future)
                else:
                    job.future.set_result(None)

        try:
            loop.call_soon_threadsafe(resolve)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.debug("%d jobs finished after the end of the event loop", len(batch))


def _compute_batch(batch: list[Job]) -> None:
    """Compute jobs; after an unexpected exception each alone, so that only its cause fails."""
    try:
        _compute(batch)
    except Exception as error:
        if len(batch) == 1:
            batch[0].error = error
        else:
            for job in batch:
                _compute_batch([job])


def _compute(batch: list[Job]) -> None:
    model = batch[0].model
    segmented, origins = [], []
    for job in batch:
        for task in job.tasks:
            task.run()
    for job in batch:
        job.records, job.inputs = [task.wait() for task in job.tasks], [None] * len(job.tasks)
        for index, picture in enumerate(job.records):
            if not isinstance(picture, PictureError):
                segmented.append(model.segment(picture))
                origins.append((job, index))
    inputs = model.reader.to_network_input(segmented)
    if not inputs:
        return
    records = model.records(inputs, max(job.top_k for job, _ in origins))
    for (job, index), one, record in zip(origins, inputs, records, strict=True):
        for digit in record["digits"]:
            del digit.get("top", [])[job.top_k :]  # another job of the batch may want more
        if job.look:
            model.explain(one, record)
        job.records[index] = record
        job.inputs[index] = one if job.keep_inputs else None


def _time_out(future: asyncio.Future) -> None:
    if not future.done():
        error = HTTPError(504, "the answer was not ready before the deadline", headers={"retry-after": "1"})
        future.set_exception(error)
