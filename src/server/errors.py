"""Every error that a client gets, in one shape: {"error": {"code", "message", "request_id"}}."""

import json

from pydantic import ValidationError
from starlette.responses import Response

from src.pictures.decode import PictureError
from src.server.schema import ACCEPTED

CODES = {
    400: "bad_request", 401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 408: "too_slow",
    413: "too_large", 415: "unsupported_media_type", 422: "invalid", 429: "busy", 431: "headers_too_large",
    500: "internal", 503: "not_ready", 504: "deadline",
}  # fmt: skip
PICTURE_STATUSES = {"too_large": 413, "unknown_format": 415}  # others, damaged and empty_body, are 422
MAX_MESSAGE = 300  # characters


class HTTPError(Exception):
    """An error response: status, code in snake_case, message of one line, further headers."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.code, self.headers = status, code or CODES[status], headers or {}

    @classmethod
    def from_picture(cls, error: PictureError) -> "HTTPError":
        """The error for a picture that cannot be decoded."""
        return cls(PICTURE_STATUSES.get(error.reason, 422), str(error), error.reason)

    @classmethod
    def from_validation(cls, error: ValidationError) -> "HTTPError":
        """The error for the first value that pydantic rejects; the value itself is not repeated."""
        first = error.errors(include_url=False, include_input=False)[0]
        where = [str(part) for part in first["loc"]]
        if not where:
            return cls(422, "the body must be a JSON object: see GET /docs")
        if first["type"] == "extra_forbidden":
            return cls(422, f"the body has an unknown key: {where[-1][:40]!r}; see GET /docs")
        accepted = ACCEPTED.get(where[0], "")
        if first["type"] == "missing":
            return cls(422, f"{where[0]} is missing: {accepted}")
        why = first["msg"].removeprefix("Value error, ") if first["type"] == "value_error" else accepted
        return cls(422, f"{'.'.join(where)[:80]}: {why or first['msg']}")

    def content(self, request_id: str) -> dict[str, str]:
        """The value of "error"."""
        message = " ".join(str(self).split())[:MAX_MESSAGE]
        return {"code": self.code, "message": message, "request_id": request_id}

    def response(self, request_id: str) -> Response:
        """The whole response."""
        body = json.dumps({"error": self.content(request_id)})
        return Response(body, self.status, self.headers, media_type="application/json")
