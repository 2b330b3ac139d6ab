"""The OpenAPI description: what FastAPI knows, and POST /predict, which goes past it."""

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from src.pictures.decode import REQUESTS
from src.server.handlers import TOP
from src.server.schema import Failed, OnePicture, Pictures, Several, Single
from src.server.settings import Settings

WHY = {
    400: "The body is no JSON, or the server is called by a name that it does not have.",
    401: "The token is missing or wrong.",
    408: "The body came too slowly.",
    413: "The body or the picture is too large.",
    415: "The body is no picture of a known format.",
    422: "The picture is damaged, or a value is none that is taken.",
    429: "There is too much work; Retry-After says when to try again.",
    431: "The headers are too many or too long.",
    503: "The server is shutting down, or cannot write corrections down.",
    504: "The answer was not ready before the deadline.",
}


def describe(api: FastAPI, classes: int, settings: Settings) -> dict:
    """OpenAPI 3.1 of all routes. classes: the most that an answer lists."""
    described = api.openapi()
    _, known = models_json_schema(
        [(Single, "serialization"), (Several, "serialization"), (Failed, "serialization"),
         (OnePicture, "validation"), (Pictures, "validation")],
        ref_template="#/components/schemas/{model}",
    )  # fmt: skip
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    schemas |= known["$defs"]
    for name in ("ValidationError", "HTTPValidationError"):  # FastAPI's own, which nothing here answers with
        schemas.pop(name, None)
    described["paths"]["/predict"] = {"post": _predict(classes)}
    for methods in described["paths"].values():
        for what in methods.values():
            responses = what["responses"]
            for status in (["400"] if settings.hosts else []) + (["401"] if settings.token else []) + ["431"]:
                responses.setdefault(status, {})
            for status, answer in responses.items():
                if int(status) >= 400:
                    answer["description"] = WHY.get(int(status), "There is no such thing.")
                    answer["content"] = {"application/json": {"schema": _ref("Failed")}}
    described["paths"] = dict(sorted(described["paths"].items(), key=lambda item: item[0] != "/predict"))
    if settings.token:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
        for path in ("/healthz", "/readyz"):
            described["paths"][path]["get"]["security"] = []
    return described


def _predict(classes: int) -> dict:
    picture = {"schema": {"type": "string", "format": "binary"}}
    kinds = [f"image/{name.lower()}" for name in REQUESTS.formats]
    one_or_more = {"schema": {"anyOf": [_ref("OnePicture"), _ref("Pictures")]}}
    answered = {"schema": {"anyOf": [_ref("Single"), _ref("Several")]}}
    top_k = {"type": "integer", "minimum": 1, "maximum": classes, "default": min(TOP, classes)}
    return {
        "summary": "Recognise the digits of a picture, or of several",
        "operationId": "predict",
        "parameters": [
            {"name": "top_k", "in": "query", "schema": top_k, "description": "classes that are listed per digit"},
            {"name": "look", "in": "query", "schema": {"type": "boolean", "default": False},
             "description": "also what the network sees, and where it looked"},
        ],
        "requestBody": {
            "required": True,
            "content": {**dict.fromkeys((*kinds, "application/octet-stream"), picture),
                        "application/json": one_or_more},
        },
        "responses": {
            "200": {"description": "What it takes them for.", "content": {"application/json": answered}},
            **{str(status): {} for status in WHY if status != 401},
        },
    }  # fmt: skip


def _ref(name: str) -> dict:
    return {"$ref": f"#/components/schemas/{name}"}
