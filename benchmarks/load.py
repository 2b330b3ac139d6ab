"""Requests as fast as a server takes them: python -m benchmarks.load <address> <request file> [--connections 16]

Keep-alive connections, each of which sends the next request as soon as the last one is answered. It speaks just enough
HTTP for that, so that it is not what is measured, and runs in a process of its own. Prints one line of JSON.
"""

import argparse
import asyncio
import json
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import uvloop


class Client(asyncio.Protocol):
    """One connection. Every answer is noted as (status, seconds); `more` says whether another request may be sent."""

    def __init__(self, request: bytes, more, note):
        self.request, self.more, self.note = request, more, note
        self.buffer, self.sent = b"", 0.0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport) -> None:
        self.transport = transport
        self._next()

    def _next(self) -> None:
        if not self.more():
            self.transport.close()
            return
        self.sent = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        start = lower.index(b"content-length: ") + 16
        length = int(lower[start:].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self.note(int(head[9:12]), time.perf_counter() - self.sent)
        self.buffer = b""
        if b"connection: close" in lower:
            self.transport.close()
        else:
            self._next()

    def connection_lost(self, error) -> None:
        if not self.done.done():
            self.done.set_result(error)


def post(path: str, body: bytes, kind: str = "image/png") -> bytes:
    """A request's bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def drive(address: str, request: bytes, connections: int, seconds: float, requests: int | None) -> dict:
    """Send for so many seconds, or so many requests; requests per second, milliseconds, statuses."""
    place, loop = urlsplit(address), asyncio.get_running_loop()
    times, statuses, sent = [], {}, 0
    start = time.perf_counter()

    def more() -> bool:
        nonlocal sent
        go = sent < requests if requests else time.perf_counter() - start < seconds
        sent += go
        return go

    def note(status: int, took: float) -> None:
        statuses[status] = statuses.get(status, 0) + 1
        times.append(took)

    made = [
        loop.create_connection(lambda: Client(request, more, note), place.hostname, place.port)
        for _ in range(connections)
    ]
    clients = [client for _, client in await asyncio.gather(*made)]
    await asyncio.gather(*(client.done for client in clients))
    spent = time.perf_counter() - start
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    return {
        "requests": len(times), "seconds": spent, "per_second": len(times) / spent, "p50_ms": p50, "p99_ms": p99,
        "statuses": statuses, "lost": sent - len(times),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("request", type=Path, help="a file with the bytes that are sent")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--requests", type=int, help="instead of seconds")
    given = parser.parse_args()
    request = given.request.read_bytes()
    print(json.dumps(uvloop.run(drive(given.address, request, given.connections, given.seconds, given.requests))))


if __name__ == "__main__":
    main()
