"""The OpenAPI description of all routes, made of the pydantic models."""

from http import HTTPStatus

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from src.pictures.decode import REQUEST_LIMITS
from src.server.handlers import DEFAULT_TOP_K
from src.server.schema import About, Correction, Failed, Kept, OnePicture, Pictures, Several, Single, State
from src.server.settings import Settings

ERRORS = {
    400: "The body is not JSON, or the Host header names another server.",
    401: "The token is missing or wrong.",
    404: "Corrections are off.",
    408: "The body arrived too slowly.",
    413: "The body or the picture is too large.",
    415: "The body is not a picture of a known format.",
    422: "The picture is damaged, or a value is invalid.",
    429: "The server is at capacity; Retry-After says when to try again.",
    431: "The headers are too many or too long.",
    503: "The server is not ready, is shutting down, or cannot store corrections.",
    504: "The answer was not ready before the deadline.",
}
PICTURE_ERRORS = (400, 408, 413, 415, 422, 429, 503, 504)
REQUEST_MODELS = (OnePicture, Pictures, Correction)
RESPONSE_MODELS = (Single, Several, Failed, State, About, Kept)


def describe_api(max_top_k: int, settings: Settings) -> dict:
    """The description, OpenAPI 3.1. max_top_k: the most classes that an answer lists."""
    body = {"requestBody": {"required": True, "content": _json_content(Correction)}}
    paths = {
        "/predict": {"post": _predict(max_top_k)},
        "/healthz": {"get": _operation("Whether the process is alive", State)},
        "/readyz": {
            "get": _operation("Whether the server is ready: the network has passed its self-test", State, (503,))
        },
        "/model": {"get": _operation("The network that answers", About)},
        "/corrections": {"post": _operation("Correct an answer", Kept, (*PICTURE_ERRORS, 404), status=201) | body},
        "/metrics": {"get": _operation("Metrics for Prometheus", None)},
    }
    always = [400] * bool(settings.hosts) + [401] * bool(settings.token) + [431]
    for path, operations in paths.items():
        for method, operation in operations.items():
            operation.setdefault("operationId", f"{path[1:]}_{path[1:]}_{method}")
            operation["responses"] |= {str(status): _error(status) for status in always}
    models = [(model, "validation") for model in REQUEST_MODELS] + [(m, "serialization") for m in RESPONSE_MODELS]
    _, schemas = models_json_schema(models, ref_template="#/components/schemas/{model}")
    description = {
        "openapi": "3.1.0",
        "info": {
            "title": "Classify pictures",
            "description": "Send a picture; a trained network answers what it shows.",
            "version": "1",
        },
        "paths": paths,
        "components": {"schemas": schemas["$defs"]},
    }
    if settings.token:
        description["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        description["security"] = [{"token": []}]
        for path in ("/healthz", "/readyz"):
            paths[path]["get"]["security"] = []
    return description


def _operation(summary: str, answer: type[BaseModel] | None, errors: tuple[int, ...] = (), status: int = 200) -> dict:
    success = {"description": HTTPStatus(status).phrase}
    if answer is not None:
        success["content"] = _json_content(answer)
    return {"summary": summary, "responses": {str(status): success, **{str(e): _error(e) for e in errors}}}


def _error(status: int) -> dict:
    return {"description": ERRORS[status], "content": _json_content(Failed)}


def _json_content(*models: type[BaseModel]) -> dict:
    refs = [{"$ref": f"#/components/schemas/{model.__name__}"} for model in models]
    return {"application/json": {"schema": refs[0] if len(refs) == 1 else {"anyOf": refs}}}


def _predict(max_top_k: int) -> dict:
    top_k = {"type": "integer", "minimum": 1, "maximum": max_top_k, "default": min(DEFAULT_TOP_K, max_top_k)}
    media_types = [*(f"image/{name.lower()}" for name in REQUEST_LIMITS.formats), "application/octet-stream"]
    picture = {"schema": {"type": "string", "format": "binary"}}
    operation = _operation("Classify one or several pictures", None, PICTURE_ERRORS)
    operation["responses"]["200"]["content"] = _json_content(Single, Several)
    return {
        **operation,
        "operationId": "predict",
        "parameters": [
            {"name": "top_k", "in": "query", "schema": top_k, "description": "classes to list for each answer"},
            {"name": "look", "in": "query", "schema": {"type": "boolean", "default": False},
             "description": "also return what the network sees, and a map of where it looked"},
        ],
        "requestBody": {
            "required": True,
            "content": {**dict.fromkeys(media_types, picture), **_json_content(OnePicture, Pictures)},
        },
    }  # fmt: skip
