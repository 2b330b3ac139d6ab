"""What every request passes first and every response last: limits, access, dispatch, errors, headers, metrics."""

import asyncio
import hmac
import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from src.server.errors import HTTPError
from src.server.metrics import Metrics
from src.server.settings import Settings

log = logging.getLogger(__name__)
Receive = Callable[[], Awaitable[dict]]
Handler = Callable[[Request], Awaitable[Response]]
Routes = dict[str, dict[str, Handler]]  # path -> method -> handler
CSP = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", CSP.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
# Paths that need no token: probes, and the page, for which a browser sends none.
PUBLIC_PATHS = ("/healthz", "/readyz", "/", "/page.css", "/page.js", "/icon.svg")
MAX_HEADERS, MAX_HEADER_BYTES = 100, 65_536  # of a request; the bytes are those of names and values


class Gateway:
    """The ASGI application in front of the handlers.

    routes: handlers by path and method. A dict finds exact paths in 0.1 microseconds; Starlette's Router takes 15, as
    it tries a regular expression per route.
    is_draining: while it returns true, responses ask clients to close their connections.
    Handlers find request_id and deadline, of time.monotonic(), in `request.state`. Exceptions of any kind become errors
    of one JSON shape; unexpected ones are logged with the id of the request.
    """

    def __init__(self, routes: Routes, settings: Settings, metrics: Metrics, is_draining: Callable[[], bool]):
        self.routes, self.settings, self.metrics, self.is_draining = routes, settings, metrics, is_draining
        self._token = settings.token.encode() if settings.token else None
        self._hosts = {name.encode() for name in settings.hosts}
        self._prefix, self._count = secrets.token_hex(4), itertools.count(1)

    async def __call__(self, scope: dict, receive: Receive, send: Callable) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1003})
            return
        start = time.perf_counter()
        request_id = f"{self._prefix}-{next(self._count)}"
        response = await self._respond(scope, receive, request_id)
        response.raw_headers += [*HEADERS, (b"x-request-id", request_id.encode())]
        if self.is_draining():
            response.raw_headers.append((b"connection", b"close"))
        await response(scope, receive, send)
        route = scope["path"] if scope["path"] in self.routes else "other"
        self.metrics.count_request(route, response.status_code, time.perf_counter() - start)

    async def _respond(self, scope: dict, receive: Receive, request_id: str) -> Response:
        deadline, limit = time.monotonic() + self.settings.deadline_s, self.settings.body_bytes
        method, path, headers = scope["method"], scope["path"], dict(scope["headers"])
        try:
            _check_header_size(scope["headers"])
            self._check_access(path, headers)
            handler = self._find_handler(method, path)
            _check_content_length(headers, limit)
            scope["state"] = {"request_id": request_id, "deadline": deadline}
            return await handler(Request(scope, _limit_body(receive, limit, deadline)))
        except HTTPError as error:
            return self._error(error, request_id)
        except ClientDisconnect:
            return Response(status_code=499)  # nginx's status for clients that left; nobody receives it
        except Exception:
            log.exception("request %s, %s %.100r: unexpected exception", request_id, method, path)
            return self._error(HTTPError(500, "internal error: see the server's log"), request_id)

    def _error(self, error: HTTPError, request_id: str) -> Response:
        self.metrics.errors.labels(error.code).inc()
        return error.response(request_id)

    def _check_access(self, path: str, headers: dict[bytes, bytes]) -> None:
        if self._hosts and _host_name(headers.get(b"host", b"")) not in self._hosts:
            message = "the Host header names another server: use this one's address, or start it with hosts=[<name>]"
            raise HTTPError(400, message, "unknown_host")
        if self._token is not None and path not in PUBLIC_PATHS:
            scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(token.strip(), self._token):
                challenge = {"www-authenticate": "Bearer"}
                raise HTTPError(401, "send the token: Authorization: Bearer <token>", headers=challenge)

    def _find_handler(self, method: str, path: str) -> Handler:
        methods = self.routes.get(path)
        if methods is None:
            raise HTTPError(404, "no such route: see GET /docs")
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = [*methods, "HEAD"] if "GET" in methods else methods
            raise HTTPError(405, "no such method: see GET /docs", headers={"allow": ", ".join(allowed)})
        return handler


def _check_header_size(headers: list[tuple[bytes, bytes]]) -> None:
    if len(headers) > MAX_HEADERS or sum([len(name) + len(value) for name, value in headers]) > MAX_HEADER_BYTES:
        raise HTTPError(431, f"more than {MAX_HEADERS} headers, or more than {MAX_HEADER_BYTES:,} bytes of headers")


def _host_name(host: bytes) -> bytes:
    """A Host header without its port, in small letters; ::1 without its brackets."""
    host = host.lower()
    if host.startswith(b"["):
        return host[1:].partition(b"]")[0]
    return host.partition(b":")[0]


def _check_content_length(headers: dict[bytes, bytes], limit: int) -> None:
    length = headers.get(b"content-length", b"")
    if length and (not length.isdigit() or len(length) > 15 or int(length) > limit):
        raise _too_large(limit)


def _too_large(limit: int) -> HTTPError:
    return HTTPError(413, f"the body has more than {limit:,} bytes")


def _limit_body(receive: Receive, limit: int, deadline: float) -> Receive:
    """ASGI's `receive`; in the middle of a body it raises HTTPError, 413 or, with the connection closed, 408."""
    received = 0

    async def receive_within_limits() -> dict:
        nonlocal received
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                message = await receive()
        except TimeoutError:
            close = {"connection": "close"}
            raise HTTPError(408, "the body did not arrive before the deadline", headers=close) from None
        received += len(message.get("body", b""))
        if received > limit:
            raise _too_large(limit)
        return message

    return receive_within_limits
