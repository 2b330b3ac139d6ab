"""uvicorn's HTTP connections with limits on time and number, and with every error as JSON."""

import json
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

EVICTABLE_S = 1.0  # a connection that has been idle for so long gives way to a new one
PROBES = ("/healthz", "/readyz")
PROBE_CONNECTIONS, PROBE_S = 16, 1.0  # beyond the limit, for probes: their number, and how long a request may take
MAX_PIPELINED = 64  # requests of one connection that wait for the one before
MAX_HEAD_BYTES = 1 << 20  # of a request without its body; the middleware counts headers more exactly


class Transport:
    """uvloop's transport of a connection; to write or read after its end is no error but does nothing.

    uvicorn marks only the last of several pipelined requests as left by its client.
    """

    def __init__(self, transport):
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def pause_reading(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()


class Connection(HttpToolsProtocol):
    """One connection.

    limit: connections at a time; a new one replaces the one that has been idle for the longest, at least EVICTABLE_S,
    or becomes one of PROBE_CONNECTIONS, which get a 429 for anything but one probe.
    receiving_since: when the client began to send the request that is not complete yet, time.monotonic(); None while it
    waits for a response.
    idle_since: since when nothing is on its way in either direction; None while something is.
    unsent_since: since when the client has taken nothing of the responses that wait for it; None while none waits.
    head_bytes: of the incoming request, without its body.
    """

    limit = 256

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.receiving_since: float | None = time.monotonic()
        self.idle_since: float | None = self.receiving_since
        self.unsent_since: float | None = None
        self.for_probes = False
        self.head_bytes = 0

    def connection_made(self, transport) -> None:
        super().connection_made(Transport(transport))
        if len(self.connections) > self.limit and not self._evict_idle():
            self.for_probes = True
            self._evict_probe()

    def _alive(self, for_probes: bool) -> "list[Connection]":
        return [one for one in self.connections if one.for_probes == for_probes and not one.transport.is_closing()]

    def _evict_probe(self) -> None:
        """Close the oldest connection for probes whose request is not complete, if there are too many."""
        alive = self._alive(for_probes=True)
        if len(alive) > PROBE_CONNECTIONS:
            waiting = [one for one in alive if one.receiving_since is not None]
            min(waiting, key=lambda one: one.receiving_since)._refuse()

    def _refuse(self) -> None:
        self._send_error(429, "Too Many Requests", "busy", "too many connections", b"retry-after: 1\r\n")

    def _evict_idle(self) -> bool:
        """Close the connection that has been idle for the longest; whether there is room for this one."""
        alive = self._alive(for_probes=False)
        if len(alive) <= self.limit:
            return True
        idle = [connection for connection in alive if connection.idle_since is not None]
        longest = min(idle, key=lambda connection: connection.idle_since)  # itself, if all others are busy
        if time.monotonic() - longest.idle_since < EVICTABLE_S:
            return False
        longest.transport.close()
        return True

    def data_received(self, data: bytes) -> None:
        self.idle_since = None
        self.head_bytes += len(data)
        super().data_received(data)
        if self.head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._fail(431, "Request Header Fields Too Large", "headers_too_large", "the headers are too long")

    def on_body(self, body: bytes) -> None:
        self.head_bytes = max(0, self.head_bytes - len(body))
        super().on_body(body)

    def resume_writing(self) -> None:
        self.unsent_since = None
        super().resume_writing()

    def on_headers_complete(self) -> None:
        if self.for_probes and self.url.partition(b"?")[0].decode("latin-1") not in PROBES:
            self._refuse()
            raise ValueError("a connection for probes")  # ends the parser
        super().on_headers_complete()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED:
            self.transport.abort()
            raise ValueError("too many requests at once")
        self.receiving_since = self.receiving_since or time.monotonic()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self.receiving_since = None
        self.head_bytes = 0
        super().on_message_complete()
        answered = self.cycle is not None and self.cycle.response_complete
        if answered and not self.pipeline and not self.transport.is_closing():  # before the request was complete
            self.idle_since = time.monotonic()
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        if self.receiving_since is None and not self.pipeline:
            self.idle_since = time.monotonic()
        super().on_response_complete()
        if self.for_probes:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with JSON, as every error."""
        self._fail(400, "Bad Request", "bad_request", "the request is not valid HTTP")

    def _fail(self, *error) -> None:
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()  # another response cannot follow in the middle of this one
            return
        self._send_error(*error)

    def _send_error(self, status: int, phrase: str, code: str, message: str, headers: bytes = b"") -> None:
        body = json.dumps({"error": {"code": code, "message": message, "request_id": ""}}).encode()
        head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + headers + b"connection: close\r\n\r\n" + body)
        self.transport.close()


def end_stalled(connections: set[Connection], patience_s: float) -> None:
    """End connections whose request, or first byte, has not arrived for so long, or that take no response for so long.

    A closed one with bytes left to send would stay open for as long as its client takes none.
    """
    now = time.monotonic()
    for connection in list(connections):
        receiving = connection.receiving_since
        patience = PROBE_S if connection.for_probes else patience_s
        if receiving is not None and now - receiving > patience:
            connection.transport.close()
        if not connection.transport.get_write_buffer_size():
            connection.unsent_since = None
        elif connection.unsent_since is None:
            connection.unsent_since = now
        elif now - connection.unsent_since > patience:
            connection.transport.abort()
