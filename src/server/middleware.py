"""What every request passes first and every answer last: who may come in, what is said, what is counted."""

import hmac
import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable

from src.server.admission import Admission
from src.server.body_limits import GoneError, bounded, check_length
from src.server.errors import Refusal
from src.server.metrics import Metrics
from src.server.settings import Settings

log = logging.getLogger(__name__)
App = Callable[[dict, Callable, Callable], Awaitable[None]]
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
OPEN = (
    "/healthz",
    "/readyz",
    "/",
    "/page.css",
    "/page.js",
    "/icon.svg",
)  # without a token: a browser sends none for a page
MOST_HEADERS, MOST_BYTES = 100, 65_536  # of a request, names and values counted
JSON = (b"content-type", b"application/json")


class Gateway:
    """The outermost ASGI application around the routes.

    routes: what answers; direct: those among them that are called without being looked for, by method and path, since
    looking costs as much as a network. paths: what may stand in metrics; others are counted as `other`.
    state.draining: answers then ask clients to leave.
    An error of any kind leaves as JSON in one shape; what nobody foresaw is logged with the request's number.
    """

    def __init__(
        self, routes: App, direct: dict[tuple[str, str], App], paths: set[str], settings: Settings, metrics: Metrics,
        admission: Admission, state,
    ):  # fmt: skip
        self.routes, self.direct, self.paths = routes, direct, paths
        self.settings, self.metrics, self.admission, self.state = settings, metrics, admission, state
        self._token = settings.token.encode() if settings.token else None
        self._hosts = {name.encode() for name in settings.hosts}
        self._start, self._count = secrets.token_hex(4), itertools.count(1)

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1003})
            return
        began = time.perf_counter()
        request_id = f"{self._start}-{next(self._count)}"
        headers = dict(scope["headers"])
        path, status = scope["path"], 0
        until = time.monotonic() + self.settings.deadline_s
        scope["asked"] = (request_id, headers, until)

        async def answer(message: dict) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                more = [*message.get("headers", ()), *HEADERS, (b"x-request-id", request_id.encode())]
                if self.state.draining:
                    more.append((b"connection", b"close"))
                message = {**message, "headers": more}
            await send(message)

        try:
            _check_headers(scope["headers"])
            self._admit(path, headers)
            app = self.direct.get((scope["method"], path))
            if app is None:
                check_length(headers, self.settings.body_bytes)
                app, receive = self.routes, bounded(receive, self.settings.body_bytes, until)
            await app(scope, receive, answer)
        except Refusal as refusal:
            await self._refuse(answer, refusal, request_id, status)
        except GoneError:
            status = status or 499  # as nginx counts those who left
        except Exception:
            log.exception("request %s, %s %.100r: a fault of this program", request_id, scope["method"], path)
            await self._refuse(answer, Refusal(500, "a fault of this program"), request_id, status)
        route = path if path in self.paths else "other"
        self.metrics.answered(route, status, time.perf_counter() - began)

    def _admit(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self._hosts and _name(headers.get(b"host", b"")) not in self._hosts:
            raise Refusal(400, "this server does not have that name: call it by its address", "unknown_host")
        if self._token is not None and path not in OPEN:
            kind, _, given = headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
                raise Refusal(401, "send the token: Authorization: Bearer <token>", headers={
                    "www-authenticate": "Bearer"})  # fmt: skip

    async def _refuse(self, send: Callable, refusal: Refusal, request_id: str, status: int) -> None:
        self.metrics.refused(refusal.code)
        if status:  # the answer has begun: there is no taking it back
            return
        await respond(send, refusal.status_code, refusal.body(request_id), refusal.headers)


async def respond(send: Callable, status: int, body: bytes, more: dict[str, str] | None = None) -> None:
    """Send JSON."""
    headers = [JSON, (b"content-length", b"%d" % len(body))]
    headers += [(name.lower().encode(), value.encode()) for name, value in (more or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _check_headers(headers: list[tuple[bytes, bytes]]) -> None:
    if len(headers) > MOST_HEADERS or sum([len(name) + len(value) for name, value in headers]) > MOST_BYTES:
        raise Refusal(431, f"more than {MOST_HEADERS} headers, or more than {MOST_BYTES:,} bytes of them")


def _name(host: bytes) -> bytes:
    """A Host header without its port, in small letters; ::1 without its brackets."""
    host = host.lower()
    if host.startswith(b"["):
        return host[1:].partition(b"]")[0]
    return host.partition(b":")[0]
