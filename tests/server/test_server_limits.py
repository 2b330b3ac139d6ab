"""Limits on bodies, headers, time and work."""

import asyncio
import time

import httpx
import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install -e '.[serve]' brings it")

from src.server.model import sample_digit
from tests.server.client import JSON, PNG, RUNNER, is_error, post, send, send_all, slow_picture


def test_bodies_over_the_limit_get_413_while_they_arrive(make_app):
    app = make_app(body_bytes=10_000)
    assert is_error(post(app, b"x" * 10_001), 413, "too_large")
    sent = 0

    async def chunks():
        nonlocal sent
        for _ in range(1000):
            sent += 1000
            yield b"x" * 1000

    for path, headers in (("/predict", PNG), ("/corrections", JSON)):
        sent = 0
        assert is_error(post(app, chunks(), path, headers), 413, "too_large")
        assert sent == 11_000  # it is told while it is still sending
    assert is_error(post(app, b"x" * 10_001, "/corrections", JSON), 413, "too_large")


def test_slow_bodies_get_408_at_the_deadline(make_app):
    app = make_app(deadline_s=0.2)

    async def slowly():
        for _ in range(100):
            yield b"x"
            await asyncio.sleep(0.05)

    for path, headers in (("/predict", PNG), ("/corrections", JSON)):
        response = post(app, slowly(), path, headers)
        assert is_error(response, 408, "too_slow")
        assert response.headers["connection"] == "close" and response.took < 2


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(f"x-{i}", "1") for i in range(60)], 200),
        ([("x-long", "a" * 60_000)], 200),
        ([(f"x-{i}", "1") for i in range(101)], 431),
        ([("x-long", "a" * 65_536)], 431),
        ([("a" * 40_000, "1"), ("b" * 40_000, "1")], 431),
    ],
)
def test_too_many_or_too_long_headers_get_431(app, headers, status):
    response = send(app, "GET", "/healthz", headers=headers)
    assert response.status_code == status
    assert status == 200 or is_error(response, 431, "headers_too_large")


def test_pictures_beyond_the_capacity_get_429_at_once(make_app):
    app = make_app(batch=2, waiting=30, deadline_s=60)
    sent = [("POST", "/predict", {"content": slow_picture(), "headers": PNG})] * 40
    background = [("GET", path) for path in ("/healthz", "/readyz", "/metrics")]
    responses = send_all(app, *sent, *background)
    accepted, busy = ([a for a in responses[:40] if a.status_code == status] for status in (200, 429))
    assert (len(accepted), len(busy)) == (32, 8)
    assert all(is_error(response, 429, "busy") and response.headers["retry-after"] == "1" for response in busy)
    assert max(response.at for response in busy) < min(response.at for response in accepted)
    assert sorted(response.took for response in busy)[4] < 0.05
    health = responses[40:]
    assert [response.status_code for response in health] == [200] * 3
    assert max(response.at for response in health) < max(response.at for response in accepted)
    assert app.admission.in_use == 0
    assert 'serve_rejects_total{reason="busy"} 8.0' in send(app, "GET", "/metrics").text


def test_deadlines_include_waiting(make_app):
    app = make_app(batch=2, waiting=30, deadline_s=0.3)
    sent = [("POST", "/predict", {"content": slow_picture(), "headers": PNG})] * 32
    responses = send_all(app, *sent)
    late = [response for response in responses if response.status_code != 200]
    assert late and all(is_error(response, 504, "deadline") for response in late)
    assert max(response.took for response in late) < 2
    until = time.monotonic() + 10
    while app.admission.in_use and time.monotonic() < until:
        RUNNER.run(asyncio.sleep(0.01))
    assert post(app, sample_digit()).status_code == 200  # what nobody waits for is not worked on


def test_a_single_request_after_a_burst_does_not_wait_for_another_burst(make_app):
    """The loop is slow: each of its passes takes 50 ms."""
    app = make_app(deadline_s=1)
    assert {
        a.status_code for a in send_all(app, *[("POST", "/predict", {"content": sample_digit(), "headers": PNG})] * 16)
    } == {200}

    async def alone():
        async def busy():
            while True:
                time.sleep(0.05)
                await asyncio.sleep(0)

        background = asyncio.create_task(busy())
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            response = await client.post("/predict", content=sample_digit(), headers=PNG)
        background.cancel()
        return response

    assert RUNNER.run(alone()).status_code == 200


def test_clients_that_retry_do_not_delay_the_shutdown(make_app):
    from src.server.lifecycle import Server

    async def end():
        server = Server(make_app(), load=None, on_start=None)
        server.servers = []
        tasks = server.server_state.tasks
        tasks.add(asyncio.create_task(asyncio.sleep(0.3)))  # a request that is being answered

        async def retry():
            while True:
                tasks.add(asyncio.create_task(asyncio.sleep(0.2)))
                await asyncio.sleep(0.05)

        background = asyncio.create_task(retry())
        await asyncio.sleep(0.1)
        await asyncio.wait_for(server._drain(), 5)
        background.cancel()
        return server.should_exit

    assert RUNNER.run(end())
