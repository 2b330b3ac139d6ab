"""The process around the routes: a socket, signals, and an end that leaves nobody without an answer."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import time
from collections.abc import Callable

import uvicorn

from src.errors import InputError
from src.server.app import App
from src.server.http_protocol import Connection, sweep
from src.server.model import ServedModel
from src.server.sockets import bind_error

log = logging.getLogger(__name__)
NOTICE_S = 0.5  # answers ask clients to leave for so long before no more are taken
DRAIN_S = 10.0  # what is in flight then has so long
TICK_S = 0.05
KEEP_ALIVE_S = 30


class Server(uvicorn.Server):
    """uvicorn with our signals.

    SIGTERM and Ctrl-C: /readyz says 503 at once and every answer asks its client to leave; after NOTICE_S no more
    pictures are taken; what is in flight is finished, within DRAIN_S; a second signal ends it at once. SIGHUP calls
    `load` beside the running network and lets what it returns answer from then on; if it raises, all stays as it is.
    caught: the signal that ended it.
    """

    def __init__(self, app: App, load: Callable[[], ServedModel], ready: Callable[[], None]):
        settings = app.settings
        protocol = type("Limited", (Connection,), {"most": settings.connections})
        super().__init__(
            uvicorn.Config(
                app, http=protocol, ws="none", loop="uvloop", lifespan="off", log_config=None, access_log=False,
                server_header=False, proxy_headers=False, timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=DRAIN_S, backlog=1024,
            )
        )  # fmt: skip
        self.app, self.load, self.tell = app, load, ready
        self.caught: int | None = None
        self._jobs: set[asyncio.Task] = set()
        self._loading, self._wanted = asyncio.Lock(), False

    @contextlib.contextmanager
    def capture_signals(self):
        """Signals are taken by the loop; what handled them before does so again afterwards."""
        loop, before = asyncio.get_running_loop(), {}
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            before[number] = signal.getsignal(number)
            loop.add_signal_handler(number, self._reload if number == signal.SIGHUP else lambda n=number: self._end(n))
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    async def startup(self, sockets=None) -> None:
        """Listen; then say so."""
        await super().startup(sockets)
        self._job(self._watch())
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not walk through torch again and again
        self.tell()

    def _job(self, coroutine) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    def _end(self, number: int) -> None:
        if self.caught is not None:
            self.should_exit = self.force_exit = True
            return
        self.caught = number
        self.app.life.draining = True
        self._job(self._drain())

    async def _drain(self) -> None:
        admission, start = self.app.admission, time.monotonic()
        while self.server_state.connections and time.monotonic() - start < NOTICE_S:
            await asyncio.sleep(TICK_S)
        admission.closed = True
        log.info("shutting down: %d pictures to finish", admission.taken)
        there = set(self.server_state.tasks)  # whoever comes now is refused at once, again and again
        while admission.taken or not all(task.done() for task in there):
            if time.monotonic() - start > NOTICE_S + DRAIN_S:
                break
            await asyncio.sleep(TICK_S)
        self.config.timeout_graceful_shutdown = max(1.0, NOTICE_S + DRAIN_S - (time.monotonic() - start))
        self.should_exit = True

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1)
            sweep(self.server_state.connections, self.app.settings.deadline_s + 2)

    def _reload(self) -> None:
        if not self._wanted:  # else one waits that has yet to look at the file
            self._wanted = True
            self._job(self._take())

    async def _take(self) -> None:
        async with self._loading:  # one after the other, so that the last signal has the last word
            self._wanted = False
            try:
                served = await asyncio.to_thread(self._load)
            except InputError as error:
                log.warning("SIGHUP: the old network stays: %s", error)
                self.app.metrics.reloaded(False)
            except Exception:
                log.exception("SIGHUP: the old network stays")
                self.app.metrics.reloaded(False)
            else:
                self.app.replace(served)
                self.app.metrics.reloaded(True)
                log.info("SIGHUP: %s answers now (%s)", served.path, served.net.digest[:12])

    def _load(self) -> ServedModel:
        served, old = self.load(), self.app.engine.served
        if (served.info.class_names, served.info.shape) != (old.info.class_names, old.info.shape):
            raise InputError(f"ckpt={served.path} has other classes or reads another shape: start a server of its own")
        served.check()
        return served


def serve(app: App, bound: socket.socket, load: Callable[[], ServedModel], ready: Callable[[], None]) -> int | None:
    """Answer on a socket until a signal comes; returns its number.

    Raises InputError if the socket can no longer be listened on.
    """
    server = Server(app, load, ready)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # the door logs what is worth it
    try:
        server.run(sockets=[bound])
    except OSError as error:
        raise bind_error(*bound.getsockname()[:2], error) from None
    finally:
        bound.close()
        app.close()
    return server.caught
