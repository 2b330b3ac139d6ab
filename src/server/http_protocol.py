"""uvicorn's HTTP connections with limits on time and number, and with every error as JSON."""

import json
import time

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

EVICTABLE_S = 1.0  # a connection that has been idle for so long gives way to a new one
MAX_HEAD_BYTES = 1 << 20  # of a request without its body; the middleware counts headers more exactly


class Connection(HttpToolsProtocol):
    """One connection.

    limit: connections at a time; a new one replaces the one that has been idle for the longest, at least EVICTABLE_S,
    or gets a 429 and is closed.
    receiving_since: when the client began to send the request that is not complete yet, time.monotonic(); None while it
    waits for a response.
    idle_since: since when nothing is on its way in either direction; None while something is.
    head_bytes: of the incoming request, without its body.
    """

    limit = 256

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.receiving_since: float | None = time.monotonic()
        self.idle_since: float | None = self.receiving_since
        self.head_bytes = 0

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.limit and not self._evict_idle():
            self._send_error(429, "Too Many Requests", "busy", "too many connections", b"retry-after: 1\r\n")

    def _evict_idle(self) -> bool:
        """Close the connection that has been idle for the longest; whether there is room for this one."""
        alive = [connection for connection in self.connections if not connection.transport.is_closing()]
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

    def on_message_begin(self) -> None:
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


def close_stalled(connections: set[Connection], patience_s: float) -> None:
    """Close connections whose request, or whose first byte, has not arrived for so long."""
    now = time.monotonic()
    for connection in list(connections):
        since = connection.receiving_since
        if since is not None and now - since > patience_s:
            connection.transport.close()
