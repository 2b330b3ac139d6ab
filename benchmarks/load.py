"""Load on a server: python -m benchmarks.load <address> <request file> [--connections 16]

Each keep-alive connection sends its next request as soon as the last one is answered. The client parses just enough
HTTP for that, so that the server is what is measured, and runs in its own process. Prints one line of JSON.
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
    """One connection. may_send: whether to send another request. record: called with status and seconds of each."""

    def __init__(self, request: bytes, may_send, record):
        self.request, self.may_send, self.record = request, may_send, record
        self.buffer, self.sent = b"", 0.0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport) -> None:
        self.transport = transport
        self._send()

    def _send(self) -> None:
        if not self.may_send():
            self.transport.close()
            return
        self.sent = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        lower = head.lower()
        start = lower.index(b"content-length: ") + 16
        length = int(lower[start:].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self.record(int(head[9:12]), time.perf_counter() - self.sent)
        self.buffer = b""
        if b"connection: close" in lower:
            self.transport.close()
        else:
            self._send()

    def connection_lost(self, error) -> None:
        if not self.done.done():
            self.done.set_result(error)


def post(path: str, body: bytes, kind: str = "image/png") -> bytes:
    """The bytes of a POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def run_load(address: str, request: bytes, connections: int, seconds: float, requests: int | None) -> dict:
    """Send requests for `seconds`, or `requests` of them; returns rates, latencies, statuses."""
    target, loop = urlsplit(address), asyncio.get_running_loop()
    times, statuses, sent = [], {}, 0
    start = time.perf_counter()

    def may_send() -> bool:
        nonlocal sent
        allowed = sent < requests if requests else time.perf_counter() - start < seconds
        sent += allowed
        return allowed

    def record(status: int, latency: float) -> None:
        statuses[status] = statuses.get(status, 0) + 1
        times.append(latency)

    connecting = [
        loop.create_connection(lambda: Client(request, may_send, record), target.hostname, target.port)
        for _ in range(connections)
    ]
    clients = [client for _, client in await asyncio.gather(*connecting)]
    await asyncio.gather(*(client.done for client in clients))
    elapsed = time.perf_counter() - start
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    return {
        "requests": len(times), "seconds": elapsed, "per_second": len(times) / elapsed, "p50_ms": p50, "p99_ms": p99,
        "statuses": statuses, "lost": sent - len(times),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address")
    parser.add_argument("request", type=Path, help="a file with the bytes to send")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--requests", type=int, help="instead of seconds")
    args = parser.parse_args()
    request = args.request.read_bytes()
    print(json.dumps(uvloop.run(run_load(args.address, request, args.connections, args.seconds, args.requests))))


if __name__ == "__main__":
    main()
