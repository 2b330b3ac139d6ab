"""The process around the application: its socket, its signals, and a shutdown that answers every request."""

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
from src.server.http_protocol import Connection, end_stalled
from src.server.model import ServedModel
from src.server.settings import bind_error

log = logging.getLogger(__name__)
NOTICE_S = 0.5  # for so long responses ask clients to leave before pictures are rejected
DRAIN_S = 10.0  # then requests in flight have so long
LINGER_S = 0.2  # between the end of listening and the end of idle connections, whose next request may be on its way
POLL_S = 0.05
KEEP_ALIVE_S = 30


class Server(uvicorn.Server):
    """uvicorn with other signal handlers.

    SIGTERM and Ctrl-C: at once /readyz answers 503 and responses ask clients to close their connections; after NOTICE_S
    pictures are rejected; requests in flight get DRAIN_S to finish; a second signal ends the server at once.
    SIGHUP: `load` runs beside the current network, and what it returns serves later requests; if it raises, the current
    network stays.
    on_start: called once the server listens. received_signal: the number of the signal that ended it.
    """

    def __init__(self, app: App, load: Callable[[], ServedModel], on_start: Callable[[], None]):
        settings = app.settings
        self._protocol = type("LimitedConnection", (Connection,), {"limit": settings.connections})
        super().__init__(
            uvicorn.Config(
                app, http=self._protocol, ws="none", loop="uvloop", lifespan="off", log_config=None, access_log=False,
                server_header=False, proxy_headers=False, timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=DRAIN_S, backlog=1024,
            )
        )  # fmt: skip
        self.app, self.load, self.on_start = app, load, on_start
        self.received_signal: int | None = None
        self._tasks: set[asyncio.Task] = set()
        self._listeners: list[socket.socket] = []
        self._reload_lock, self._reload_pending = asyncio.Lock(), False

    @contextlib.contextmanager
    def capture_signals(self):
        """Handle signals in the event loop; the handlers from before are restored at the end."""
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGTERM: self._shut_down, signal.SIGINT: self._shut_down, signal.SIGHUP: self._reload}
        before = {number: signal.getsignal(number) for number in handlers}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler, number)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    async def startup(self, sockets=None) -> None:
        """Listen, then call `on_start`."""
        self._listeners = sockets or []
        await super().startup(sockets)
        self._create_task(self._watch_connections())
        gc.collect()
        gc.freeze()  # objects from before the first request, torch's above all, are never collected again
        self.on_start()

    def _create_task(self, coroutine) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _shut_down(self, number: int) -> None:
        if self.received_signal is not None:
            self.should_exit = self.force_exit = True
            return
        self.received_signal = number
        self.app.draining = True
        self._create_task(self._drain())

    async def _drain(self) -> None:
        admission, start = self.app.admission, time.monotonic()
        while self.server_state.connections and time.monotonic() - start < NOTICE_S:
            await asyncio.sleep(POLL_S)
        admission.closed = True
        log.info("shutting down: %d pictures to finish", admission.in_use)
        in_flight = set(self.server_state.tasks)  # later requests are rejected at once, and may come for ever
        end = start + NOTICE_S + DRAIN_S
        while (admission.in_use or not all(task.done() for task in in_flight)) and time.monotonic() <= end:
            await asyncio.sleep(POLL_S)
        await self._stop_listening()
        self.config.timeout_graceful_shutdown = max(1.0, end - time.monotonic())
        self.should_exit = True

    async def _stop_listening(self) -> None:
        """Accept everybody who has connected, then close: a closed listener resets whoever still waits at it."""
        waiting = [listener.dup() for listener in self._listeners]
        for server in self.servers:
            server.close()
        for listener in self._listeners:
            listener.close()
        await asyncio.sleep(POLL_S)  # uvloop closes what it has in its next iteration
        accepted = []
        for listener in waiting:
            with contextlib.suppress(BlockingIOError):
                while True:
                    accepted.append(listener.accept()[0])
            listener.close()
        loop = asyncio.get_running_loop()
        for connection in accepted:
            await loop.connect_accepted_socket(self._make_connection, connection)
        if self.server_state.connections:
            await asyncio.sleep(LINGER_S)

    def _make_connection(self) -> Connection:
        return self._protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def _watch_connections(self) -> None:
        while True:
            await asyncio.sleep(1)
            end_stalled(self.server_state.connections, self.app.settings.deadline_s + 2)

    def _reload(self, number: int) -> None:
        if not self._reload_pending:  # a pending reload has yet to read the file
            self._reload_pending = True
            self._create_task(self._reload_model())

    async def _reload_model(self) -> None:
        async with self._reload_lock:  # one at a time, so that the last signal decides
            self._reload_pending = False
            result = "refused"
            try:
                model = await asyncio.to_thread(self._load_compatible)
            except InputError as error:
                log.warning("SIGHUP: the old network stays: %s", error)
            except Exception:
                log.exception("SIGHUP: the old network stays")
            else:
                self.app.replace_model(model)
                result = "taken"
                log.info("SIGHUP: now serving %s (%s)", model.path, model.net.digest[:12])
            self.app.metrics.reloads.labels(result).inc()

    def _load_compatible(self) -> ServedModel:
        new, old = self.load(), self.app.batcher.model
        if (new.info.class_names, new.info.shape) != (old.info.class_names, old.info.shape):
            raise InputError(f"ckpt={new.path} has other classes or another image shape: start another server for it")
        new.self_test()
        return new


def run_server(
    app: App, listener: socket.socket, load: Callable[[], ServedModel], on_start: Callable[[], None]
) -> int | None:
    """Serve until a signal; returns its number. Closes the socket and the application.

    Raises InputError if the socket can no longer be listened on.
    """
    server = Server(app, load, on_start)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # the middleware logs what matters
    try:
        server.run(sockets=[listener])
    except OSError as error:
        raise bind_error(*listener.getsockname()[:2], error) from None
    finally:
        listener.close()
        app.close()
    return server.received_signal
