"""HTTP connections as uvicorn has them, but none that is idle for ever, none too many, and no error as plain text."""

import json
import time

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REST_S = 1.0  # a connection that has been idle for longer gives its place to a new one
MOST_BESIDE = 1 << 20  # bytes of a request that are not its body; the door counts headers more exactly


class Connection(HttpToolsProtocol):
    """One connection. most: how many there may be; another one takes the place of the one that has been idle for the
    longest, at least REST_S, or is told so and closed.

    began: when the client began to send what is not whole yet, time.monotonic(); None while we have the next word.
    idle: since when nothing is on its way in either direction; None while something is.
    beside: bytes of the request that comes in, less those of its body.
    """

    most = 256

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.began: float | None = time.monotonic()
        self.idle: float | None = self.began
        self.beside = 0

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.most and not self._take_place():
            self._say(429, "Too Many Requests", "busy", "there are too many connections", b"retry-after: 1\r\n")

    def _take_place(self) -> bool:
        """Close the connection that has been idle for the longest; whether there is a place."""
        there = [one for one in self.connections if not one.transport.is_closing()]
        if len(there) <= self.most:
            return True
        longest = min((one for one in there if one.idle is not None), key=lambda one: one.idle)
        if time.monotonic() - longest.idle < REST_S:  # this one itself, if all the others are at work
            return False
        longest.transport.close()
        return True

    def data_received(self, data: bytes) -> None:
        self.idle = None
        self.beside += len(data)
        super().data_received(data)
        if self.beside > MOST_BESIDE and not self.transport.is_closing():
            self._refuse(431, "Request Header Fields Too Large", "headers_too_large", "the headers do not end")

    def on_body(self, body: bytes) -> None:
        self.beside = max(0, self.beside - len(body))
        super().on_body(body)

    def on_message_begin(self) -> None:
        if self.began is None:
            self.began = time.monotonic()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self.began = None
        self.beside = 0
        super().on_message_complete()
        done = self.cycle is not None and self.cycle.response_complete
        if done and not self.pipeline and not self.transport.is_closing():  # answered before it was whole
            self.idle = time.monotonic()
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        if self.began is None and not self.pipeline:
            self.idle = time.monotonic()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered in the shape of all errors, too."""
        self._refuse(400, "Bad Request", "bad_request", "this is not HTTP")

    def _refuse(self, *what) -> None:
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()  # in the middle of an answer there is no room for another
            return
        self._say(*what)

    def _say(self, status: int, phrase: str, code: str, message: str, more: bytes = b"") -> None:
        body = json.dumps({"error": {"code": code, "message": message, "request_id": ""}}).encode()
        head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + more + b"connection: close\r\n\r\n" + body)
        self.transport.close()


def sweep(connections: set[Connection], patience_s: float) -> int:
    """Close those that have been sending one request, or nothing at all, for longer; their number."""
    now = time.monotonic()
    slow = [one for one in connections if one.began is not None and now - one.began > patience_s]
    for one in slow:
        one.transport.close()
    return len(slow)
