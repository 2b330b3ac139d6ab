"""The ASGI application: state, routes, and what they share."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from src.data.sources.corrections import CorrectionStore
from src.server.admission import Admission
from src.server.batcher import Batcher
from src.server.errors import HTTPError
from src.server.handlers import handle_correction, handle_predict, json_response
from src.server.metrics import Metrics
from src.server.middleware import Gateway, Routes
from src.server.model import ServedModel
from src.server.openapi import describe_api
from src.server.schema import State
from src.server.settings import Settings
from src.server.static_files import read_static_files, render_docs

DEFAULT = Settings()


@dataclass
class ServerState:
    """Whether the network failed the self-test, and why; whether the server is shutting down."""

    self_test_error: str | None = None
    draining: bool = False


class App:
    """A server without its socket.

    store: of corrections; None rejects them.
    """

    def __init__(self, model: ServedModel, settings: Settings = DEFAULT, store: CorrectionStore | None = None):
        self.settings, self.store, self.state, self.metrics = settings, store, ServerState(), Metrics()
        self.admission = Admission(settings.capacity)
        self.batcher = Batcher(model, self.admission, self.metrics, settings.batch)
        self.metrics.set_gauges(
            lambda: self.batcher.waiting, lambda: self.batcher.in_flight, lambda: self.not_ready() is None
        )
        self.metrics.set_model(model.net.digest, model.engine)
        self._gateway = Gateway(self._routes(), settings, self.metrics, self.state)

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        await self._gateway(scope, receive, send)

    def not_ready(self) -> str | None:
        """Why requests should go elsewhere; None if the server is ready."""
        return "the server is shutting down" if self.state.draining else self.state.self_test_error

    def replace_model(self, model: ServedModel) -> None:
        """Serve another network to requests that come from now on."""
        self.batcher.model = model
        self.state.self_test_error = None
        self.metrics.set_model(model.net.digest, model.engine)

    def close(self) -> None:
        """Stop the threads and close the store."""
        self.batcher.stop()
        if self.store is not None:
            self.store.close()

    def _routes(self) -> Routes:
        description = describe_api(self.batcher.model.max_top_k, self.settings)
        files = read_static_files() | {
            "/docs": (render_docs(description), "text/html; charset=utf-8"),
            "/openapi.json": (json.dumps(description).encode(), "application/json"),
        }
        return {
            "/predict": {"POST": partial(handle_predict, self.batcher)},
            "/corrections": {"POST": partial(handle_correction, self.batcher, self.store)},
            "/healthz": {"GET": self._healthz},
            "/readyz": {"GET": self._readyz},
            "/model": {"GET": self._model},
            "/metrics": {"GET": self._metrics},
            **{path: {"GET": partial(_send_file, *file)} for path, file in files.items()},
        }

    async def _healthz(self, request: Request) -> Response:
        return json_response(State(status="alive"))

    async def _readyz(self, request: Request) -> Response:
        reason = self.not_ready()
        if reason is not None:
            raise HTTPError(503, reason, "draining" if self.state.draining else "not_ready", {"retry-after": "1"})
        return json_response(State(status="ready"))

    async def _model(self, request: Request) -> Response:
        return json_response(self.batcher.model.about())

    async def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.exposition(), media_type=self.metrics.content_type)


async def _send_file(content: bytes, media_type: str, request: Request) -> Response:
    return Response(content, media_type=media_type)
