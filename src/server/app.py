"""The ASGI application: state, routes, and what they share. Files are held in memory: requests never open one."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from src.data.info import DataInfo
from src.data.sources.corrections import CorrectionStore
from src.errors import InputError
from src.server.batcher import Admission, Batcher
from src.server.errors import HTTPError
from src.server.handlers import handle_correction, handle_predict, json_response
from src.server.metrics import Metrics
from src.server.middleware import Gateway, Routes
from src.server.model import ServedModel
from src.server.openapi import describe_api
from src.server.schema import State
from src.server.settings import Settings

DEFAULT = Settings()
HERE = Path(__file__).resolve().parent
HTML = "text/html; charset=utf-8"
FILES = {
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
ACCEPTED = (
    "give a writable file or its folder; corrections of earlier servers stay in it; feedback=null rejects corrections"
)


class App:
    """A server without its socket.

    store: of corrections; None rejects them. self_test_error: why the network failed the self-test; None if it did not.
    draining: whether the server is shutting down.
    """

    def __init__(self, model: ServedModel, settings: Settings = DEFAULT, store: CorrectionStore | None = None):
        self.settings, self.store, self.metrics = settings, store, Metrics()
        self.draining = False
        self.admission = Admission(settings.capacity)
        self.batcher = Batcher(model, self.admission, self.metrics, settings.batch)
        self.metrics.waiting.set_function(lambda: self.batcher.waiting)
        self.metrics.in_flight.set_function(lambda: self.batcher.in_flight)
        self.metrics.ready.set_function(lambda: self.not_ready() is None)
        self.replace_model(model)
        self._gateway = Gateway(self._routes(), settings, self.metrics, lambda: self.draining)

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        await self._gateway(scope, receive, send)

    def not_ready(self) -> str | None:
        """Why requests should go elsewhere; None if the server is ready."""
        return "the server is shutting down" if self.draining else self.self_test_error

    def replace_model(self, model: ServedModel) -> None:
        """Serve another network to requests that come from now on."""
        self.batcher.model = model
        self.self_test_error: str | None = None
        self._page_content = render_page(model.info).encode()
        self.metrics.model.clear()
        self.metrics.model.labels(model.net.digest, model.engine).set(1)

    def close(self) -> None:
        """Stop the threads and close the store."""
        self.batcher.stop()
        if self.store is not None:
            self.store.close()

    def _routes(self) -> Routes:
        description = describe_api(self.batcher.model.max_top_k, self.settings)
        templates = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
        # The usual viewers load scripts from other hosts.
        docs = templates.get_template("docs.html.jinja").render(description)
        static = HERE / "static"
        files = {path: ((static / name).read_bytes(), media_type) for path, (name, media_type) in FILES.items()}
        files["/docs"] = docs.encode(), HTML
        files["/openapi.json"] = json.dumps(description).encode(), "application/json"
        return {
            "/predict": {"POST": partial(handle_predict, self.batcher)},
            "/corrections": {"POST": partial(handle_correction, self.batcher, self.store)},
            "/healthz": {"GET": self._healthz},
            "/readyz": {"GET": self._readyz},
            "/model": {"GET": self._model},
            "/metrics": {"GET": self._metrics},
            "/": {"GET": self._page},
            **{path: {"GET": partial(_send_file, *file)} for path, file in files.items()},
        }

    async def _healthz(self, request: Request) -> Response:
        return json_response(State(status="alive"))

    async def _readyz(self, request: Request) -> Response:
        if (reason := self.not_ready()) is not None:
            raise HTTPError(503, reason, "draining" if self.draining else "not_ready", {"retry-after": "1"})
        return json_response(State(status="ready"))

    async def _page(self, request: Request) -> Response:
        return Response(self._page_content, media_type=HTML)

    async def _model(self, request: Request) -> Response:
        return json_response(self.batcher.model.about())

    async def _metrics(self, request: Request) -> Response:
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def render_page(info: DataInfo) -> str:
    """index.html with the title and the line below it that fit the network, as page.js sets them later."""
    text = (HERE / "static" / "index.html").read_text(encoding="utf-8")
    if info.shape[0] > 1:
        title, lead = "Give a picture", "The network answers what it shows."
        text = text.replace("Draw a character and see what the network reads as you draw.", f"{title}. {lead}")
        text = text.replace("The network reads as you draw.", lead)
    elif info.output.is_number:
        title = "Draw something"
    else:
        title = "Draw a digit" if all(re.fullmatch("[0-9]", name) for name in info.class_names) else "Draw a picture"
    return text.replace("Draw a digit", title)


async def _send_file(content: bytes, media_type: str, request: Request) -> Response:
    return Response(content, media_type=media_type)


def open_store(feedback: str) -> CorrectionStore:
    """The store, opened for writing; created if it does not exist.

    feedback: a file, or the folder of feedback.sqlite. Raises InputError if it is not writable or not a store.
    """
    store = CorrectionStore(Path(feedback).expanduser())
    try:
        store.path.parent.mkdir(parents=True, exist_ok=True)
        store.path.touch()
        store.count()  # takes the write lock, and creates the table in an empty file
    except (OSError, ValueError) as error:
        store.close()
        cause = error.__context__ if isinstance(error, InputError) and error.__context__ else error
        why = getattr(cause, "strerror", None) or cause
        raise InputError(f"feedback={feedback} cannot take corrections ({why}): {ACCEPTED}") from None
    return store
