"""The routes of a server, put together."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route

from src.data.sources.corrections import Feedback
from src.server.admission import Admission
from src.server.batcher import Batcher
from src.server.errors import Refusal
from src.server.handlers import Predict, correct
from src.server.metrics import Metrics
from src.server.middleware import Gateway
from src.server.model import ServedModel
from src.server.openapi import describe
from src.server.schema import About, Correction, Failed, Kept, State
from src.server.settings import Settings
from src.server.static_files import docs_page, read_page

DEFAULT = Settings()


@dataclass
class ServerState:
    """Where a server is between its start and its end. unfit: why the network failed on the built-in digit."""

    unfit: str | None = None
    draining: bool = False


class App:
    """A server without its socket: an ASGI application, and what is behind it.

    store: takes corrections; None refuses them.
    """

    def __init__(self, served: ServedModel, settings: Settings = DEFAULT, store: Feedback | None = None):
        self.settings, self.store, self.life, self.metrics = settings, store, ServerState(), Metrics()
        self.admission = Admission(settings.places)
        self.engine = Batcher(served, self.admission, self.metrics, settings.batch)
        self.metrics.watch(lambda: self.engine.waiting, lambda: self.engine.working, lambda: self.ready() is None)
        self.metrics.named(served.net.digest, served.engine)
        self.predict = Predict(self.engine, settings.body_bytes)
        api = _routes(self)
        paths = {route.path for route in api.routes}
        direct = {("POST", "/predict"): self.predict}
        self._door = Gateway(api, direct, paths, settings, self.metrics, self.admission, self.life)

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        await self._door(scope, receive, send)

    def ready(self) -> str | None:
        """Why requests should go elsewhere; None where they need not."""
        return "the server is shutting down" if self.life.draining else self.life.unfit

    def replace(self, served: ServedModel) -> None:
        """Let another network answer requests that come from now on."""
        self.engine.served = served
        self.life.unfit = None
        self.metrics.named(served.net.digest, served.engine)

    def close(self) -> None:
        """End the engine's thread and close the store."""
        self.engine.stop()
        if self.store is not None:
            self.store.close()


def _routes(app: App) -> FastAPI:
    api = FastAPI(
        title="Recognise digits",
        description="A picture of a digit, or of several, is answered with what a trained network takes it for.",
        version="1", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    problem = partial(_problem, app)
    api.add_exception_handler(HTTPException, problem)
    api.add_exception_handler(RequestValidationError, problem)
    failed = {"model": Failed}

    @api.get("/healthz", summary="Whether the process is alive")
    async def healthz() -> State:
        return State(status="alive")

    @api.get("/readyz", summary="Whether requests may come: the built-in digit was recognised", responses={503: failed})
    async def readyz() -> State:
        reason = app.ready()
        if reason is not None:
            raise Refusal(503, reason, "draining" if app.life.draining else "not_ready", {"retry-after": "1"})
        return State(status="ready")

    @api.get("/model", summary="The network that answers")
    async def model() -> About:
        return About(**app.engine.served.describe())

    answers = dict.fromkeys((400, 404, 408, 413, 415, 422, 429, 503, 504), failed)

    @api.post("/corrections", status_code=201, summary="Say what a digit is", responses=answers)
    async def corrections(given: Correction, request: Request) -> Kept:
        if request.scope["query_string"]:
            raise Refusal(422, "the query has a key: corrections come in the body alone")
        return Kept(id=await correct(given, app.engine, app.store, request.scope["asked"][2]))

    @api.get("/metrics", summary="For Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(app.metrics.text(), media_type=app.metrics.content_type)

    described = describe(api, app.engine.served.top_most, app.settings)
    kept = {
        **read_page(),
        "/docs": (docs_page(described), "text/html; charset=utf-8"),
        "/openapi.json": (json.dumps(described).encode(), "application/json"),
    }
    api.router.routes.append(Route("/predict", app.predict, methods=["POST"]))
    for path, (content, kind) in kept.items():
        api.router.routes.append(Route(path, partial(_file, content, kind), methods=["GET"]))
    return api


async def _file(content: bytes, kind: str, request: Request) -> Response:
    return Response(content, media_type=kind)


async def _problem(app: App, request: Request, error: Exception) -> Response:
    invalid = isinstance(error, RequestValidationError)
    refusal = Refusal.of_fields(error.errors()) if invalid else Refusal.of(error)
    app.metrics.refused(refusal.code)
    headers = dict(refusal.headers or {})
    body = refusal.body(request.scope["asked"][0])
    return Response(body, refusal.status_code, headers, media_type="application/json")
