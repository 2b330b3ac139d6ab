"""Connections of a server as a process: clients that never read, places for probes, and nobody lost at the end."""

import asyncio
import contextlib
import json
import re
import signal
import socket
import time
from collections import Counter
from urllib.request import urlopen

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install -e '.[serve]' brings it")

from src.server.model import sample_digit
from tests.commands import output_of, start
from tests.server.client import RUNNER, write_network

PLACES = 12


@contextlib.contextmanager
def serving(tmp_path, deadline_s=1):
    """A process that serves an untrained network on PLACES connections, and its port; it ends without a complaint."""
    network = write_network(tmp_path / "network.ckpt")
    words = [
        "port=0",
        "feedback=null",
        f"deadline_s={deadline_s}",
        f"connections={PLACES}",
        f"hydra.run.dir={tmp_path}/serve",
    ]
    process, results = start("src.serve", f"ckpt={network}", *words), tmp_path / "serve/results.json"
    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None and not results.is_file():
        time.sleep(0.05)
    address = json.loads(results.read_text())["address"]
    with urlopen(f"{address}/healthz", timeout=60) as answer:
        assert answer.status == 200
    yield process, int(address.rpartition(":")[2])
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    out, err = output_of(process, 30)
    assert process.returncode == 143
    assert not re.search("Traceback|unexpected|never retrieved", out + err), out + err


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as started:
        yield started


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


def status(port: int, path: str) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(get(path))
        return int(connection.recv(12).split()[1])


class Deaf:
    """A client that sends requests and never reads."""

    def __init__(self, port: int):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)

    def send(self, content: bytes) -> bool:
        """Whether the connection is still there."""
        try:
            self.socket.send(content)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True


def test_clients_that_never_read_lose_their_places_and_probes_are_always_answered(server):
    _, port = server
    page = b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    picture = sample_digit()
    post = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {len(picture)}"
    clients = [Deaf(port) for _ in range(PLACES + 4)]
    begun, seen, alive = time.monotonic(), Counter(), len(clients)
    while alive and time.monotonic() - begun < 30:
        alive = sum([client.send(page * 9 + post.encode() + b"\r\n\r\n" + picture) for client in clients])
        seen.update([status(port, "/healthz"), status(port, "/readyz")])
        time.sleep(0.05)
    assert not alive, "their connections are ended"
    assert set(seen) == {200, 503} and seen[200] == seen[503], "an untrained network is alive and not ready"
    assert status(port, "/model") == 200
    for client in clients:
        client.socket.close()


def test_beyond_the_limit_there_are_places_for_probes_alone(server):
    _, port = server
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5)) for _ in range(PLACES)]
        for one in opened:
            one.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\n")  # not idle: it keeps its place
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5)) for _ in range(40)]
        assert [status(port, path) for path in ("/healthz", "/readyz", "/model", "/", "/healthz?x=1")] == [
            200, 503, 429, 429, 200]  # fmt: skip
        refused = silent[0].recv(1000)
        assert refused.startswith(b"HTTP/1.1 429 ") and b'"busy"' in refused, "a newer one takes its place"


def test_a_client_may_pipeline_some_requests_and_no_flood(server):
    _, port = server
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request * 50 + get("/healthz"))
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        assert b"".join(parts).count(b"HTTP/1.1 200") == 51
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection, pytest.raises(OSError):
        while True:
            connection.sendall(request * 2000)
    assert status(port, "/healthz") == 200


@pytest.mark.parametrize("keep", [True, False], ids=["keep-alive", "a connection for each request"])
def test_at_the_end_everybody_who_has_connected_is_answered(tmp_path, keep):
    picture, seen, end = sample_digit(), Counter(), "" if keep else "Connection: close\r\n"
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n{end}"
    request = f"{head}Content-Length: {len(picture)}\r\n\r\n".encode() + picture

    async def client():  # until nobody listens
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return
            with contextlib.closing(writer):
                stays = True
                while stays:
                    writer.write(request)
                    answer = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(int(re.search(rb"content-length: (\d+)", answer)[1]))
                    seen[int(answer.split()[1])] += 1
                    stays = b"connection: close" not in answer.lower()

    async def load(process):
        clients = [asyncio.create_task(client()) for _ in range(3 * PLACES)]
        await asyncio.sleep(1)
        process.send_signal(signal.SIGTERM)
        return await asyncio.gather(*clients, return_exceptions=True)

    with serving(tmp_path, deadline_s=10) as (process, port):  # which a loaded machine does not miss
        assert [repr(error) for error in RUNNER.run(load(process)) if error is not None] == []
    assert set(seen) <= {200, 429, 503} and seen[200] > 50 and seen[503] > 0, seen
