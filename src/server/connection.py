"""HTTP connections as uvicorn has them, but none that is idle for ever, none too many, and no error as plain text."""

import json
import time

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Connection(HttpToolsProtocol):
    """One connection. most: how many there may be; another one is told so and closed.

    began: when the client began to send what is not whole yet, time.monotonic(); None while we have the next word.
    """

    most = 256

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.began: float | None = time.monotonic()

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._say(429, "Too Many Requests", "busy", "there are too many connections", b"retry-after: 1\r\n")

    def on_message_begin(self) -> None:
        if self.began is None:
            self.began = time.monotonic()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self.began = None
        super().on_message_complete()
        done = self.cycle is not None and self.cycle.response_complete
        if done and not self.pipeline and not self.transport.is_closing():  # answered before it was whole
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered in the shape of all errors, too."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()  # in the middle of an answer there is no room for another
            return
        self._say(400, "Bad Request", "bad_request", "this is not HTTP")

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
