"""Reading what a request brings: no more than a limit, no longer than a deadline."""

import asyncio
from collections.abc import Awaitable, Callable

from src.server.admission import left
from src.server.errors import Refusal

Message = dict
Receive = Callable[[], Awaitable[Message]]


class GoneError(Exception):
    """The client closed the connection before its request was whole; nobody reads an answer."""


def check_length(headers: dict[bytes, bytes], limit: int) -> None:
    """Raise Refusal(413) if a request says that it is larger than `limit` bytes."""
    declared = headers.get(b"content-length", b"")
    if declared and (not declared.isdigit() or len(declared) > 15 or int(declared) > limit):
        raise too_large(limit)


def too_large(limit: int) -> Refusal:
    """413 for a body of more than `limit` bytes."""
    return Refusal(413, f"the body has more than {limit:,} bytes")


def too_slow() -> Refusal:
    """408 for a body that did not arrive in time; the connection is of no more use."""
    return Refusal(408, "the body did not arrive before the deadline", headers={"connection": "close"})


def bounded(receive: Receive, limit: int, until: float) -> Receive:
    """`receive` of ASGI that counts bytes and looks at the clock.

    until: of time.monotonic(). It raises Refusal, 413 or 408, in the middle of a body.
    """
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        try:
            async with asyncio.timeout(left(until)):
                message = await receive()
        except TimeoutError:
            raise too_slow() from None
        taken += len(message.get("body", b""))
        if taken > limit:
            raise too_large(limit)
        return message

    return counted


async def read_body(receive: Receive, limit: int, until: float) -> bytes:
    """The whole body. Raises Refusal, 413 or 408, or GoneError."""
    receive = bounded(receive, limit, until)
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
