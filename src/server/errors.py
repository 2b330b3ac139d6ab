"""Every error that a client sees, in one shape: {"error": {"code", "message", "request_id"}}."""

import json

from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException

from src.pictures.decode import PictureError
from src.server.schema import ACCEPTED

CODES = {
    400: "bad_request", 401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 408: "too_slow",
    413: "too_large", 415: "unsupported_media_type", 422: "invalid", 429: "busy", 431: "headers_too_large",
    500: "internal", 503: "not_ready", 504: "deadline",
}  # fmt: skip
MESSAGES = {
    400: "the body is not JSON",
    404: "there is no such page; GET /docs lists what there is",
    405: "this address does not take that method; GET /docs lists what it takes",
}
PICTURES = {"too_large": 413, "unknown_format": 415}  # what remains is damaged or empty, 422
LENGTH = 300  # characters of a message


class Refusal(HTTPException):
    """A request that is answered with an error: its status, a code in snake_case and one line."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None):
        super().__init__(status, message, headers)
        self.code = code or CODES.get(status, "refused")

    @classmethod
    def of(cls, error: HTTPException) -> "Refusal":
        """One raised by the framework, in our words."""
        if isinstance(error, cls):
            return error
        message = MESSAGES.get(error.status_code, str(error.detail))  # 400: FastAPI could not read the body
        return cls(error.status_code, message, headers=dict(error.headers or {}))

    @classmethod
    def of_picture(cls, error: PictureError) -> "Refusal":
        """A picture that is not taken."""
        return cls(PICTURES.get(error.reason, 422), str(error), error.reason)

    @classmethod
    def of_fields(cls, errors: list[ErrorDetails]) -> "Refusal":
        """The first of the things that pydantic found; what was sent is not repeated."""
        first = errors[0]
        if first["type"] == "json_invalid":
            return cls(400, "the body is not JSON", "bad_json")
        where = [str(part) for part in first["loc"] if part != "body"]
        if not where:
            return cls(422, "the body is a JSON object; GET /docs lists what it may hold")
        if first["type"] == "extra_forbidden":
            return cls(422, f"the body has a key that is not taken: {where[-1][:40]!r}; GET /docs lists what is")
        accepted = ACCEPTED.get(where[0], "")
        if first["type"] == "missing":
            return cls(422, f"{where[0]} is missing: {accepted}")
        why = first["msg"].removeprefix("Value error, ") if first["type"] == "value_error" else accepted
        return cls(422, f"{'.'.join(where)[:80]}: {why or first['msg']}")

    def fields(self, request_id: str) -> dict[str, str]:
        """What stands under "error"."""
        message = " ".join(str(self.detail).split())[:LENGTH]
        return {"code": self.code, "message": message, "request_id": request_id}

    def body(self, request_id: str) -> bytes:
        """The answer's body."""
        return json.dumps({"error": self.fields(request_id)}).encode()


def busy(what: str = "the server has as much work as it takes") -> Refusal:
    """429, to be tried again in a second."""
    return Refusal(429, f"{what}: try again in a second", headers={"retry-after": "1"})
