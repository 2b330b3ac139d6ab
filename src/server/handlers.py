"""POST /predict and POST /corrections."""

import asyncio
import json
import logging
from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from src.data.sources.corrections import CorrectionStore, StoreFullError
from src.errors import InputError
from src.pictures.decode import PictureError
from src.pictures.reader import NetworkInput
from src.server.batcher import Batcher, Job
from src.server.errors import HTTPError
from src.server.schema import Correction, Kept, OnePicture, Pictures

log = logging.getLogger(__name__)
DEFAULT_TOP_K = 3
JSON = "application/json"
RAW = ("image/", "application/octet-stream")
TRUE, FALSE = ("true", "1"), ("false", "0")
M = TypeVar("M", bound=BaseModel)


async def handle_predict(batcher: Batcher, request: Request) -> Response:
    """Answer a picture in the body, or one or several pictures in JSON."""
    media_type = media_type_of(request)
    if media_type != JSON and not media_type.startswith(RAW):
        raise HTTPError(415, "send a picture as image/*, or base64 in application/json")
    top_k, look = read_options(request.scope["query_string"], batcher.model.max_top_k)
    batcher.admission.check()  # before the body is read
    body = await read_body(request)
    pictures, several = parse_pictures(body) if media_type == JSON else ([body], False)
    state = request.state
    job = await batcher.run(Job(pictures, state.deadline, top_k, look))
    if several:
        answers = [
            {"error": HTTPError.from_picture(one).content(state.request_id)} if isinstance(one, PictureError) else one
            for one in job.records
        ]
        content = {"answers": answers}
    else:
        (content,) = job.records
        if isinstance(content, PictureError):
            raise HTTPError.from_picture(content)
    tail = f', "model": {job.model.model_json}, "request_id": "{state.request_id}"}}'
    return Response(json.dumps(content)[:-1] + tail, media_type=JSON)


async def handle_correction(batcher: Batcher, store: CorrectionStore | None, request: Request) -> Response:
    """Store the true class of a digit, and the image of it as the network reads it.

    Raises HTTPError if corrections are off, the class or the box does not exist, the store is full or not writable.
    """
    media_type = media_type_of(request)
    if media_type != JSON and not media_type.endswith("+json"):
        raise HTTPError(415, "send a correction as application/json")
    if request.scope["query_string"]:
        raise HTTPError(422, "corrections accept no query: send everything in the body")
    given = validate(Correction, parse_json(await read_body(request)))
    if store is None:
        raise HTTPError(404, "corrections are off: start the server with feedback=<file>", "corrections_off")
    info = batcher.model.info
    if given.correction not in info.class_names:
        known = ", ".join(info.class_names[:40]) or "none, the network predicts a number"
        raise HTTPError(422, f"correction: not a class of this network; classes: {known}")
    job = await batcher.run(Job([given.image], request.state.deadline, keep_inputs=True))
    (record,), (inputs,) = job.records, job.inputs
    if isinstance(record, PictureError):
        raise HTTPError.from_picture(record)
    image = inputs.images[_index_of(given.box, inputs)]
    try:
        number = await asyncio.to_thread(
            store.add, image, given.image, given.answer, given.correction, job.model.net.digest, job.model.described
        )
    except StoreFullError as error:
        log.warning("correction rejected: %s", error)
        raise HTTPError(429, "the store of corrections is full", "full") from None
    except InputError as error:
        log.error("correction not stored: %s", error)
        raise HTTPError(503, "the correction could not be stored: see the server's log", "not_kept") from None
    return json_response(Kept(id=number), 201)


def json_response(content: BaseModel, status: int = 200) -> Response:
    """A pydantic model as a response."""
    return Response(content.model_dump_json(), status, media_type=JSON)


def media_type_of(request: Request) -> str:
    """The Content-Type without its parameters, in small letters; empty if there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_options(query: bytes, max_top_k: int) -> tuple[int, bool]:
    """top_k and look of a query string. Raises HTTPError for unknown and repeated keys, and for invalid values."""
    if not query:
        return min(DEFAULT_TOP_K, max_top_k), False
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise HTTPError(422, "the query has more than 20 fields") from None
    options = dict(pairs)
    if not options.keys() <= {"top_k", "look"}:
        raise HTTPError(422, f"the query has an unknown key: give top_k (1 to {max_top_k}) and look (true or false)")
    if len(options) < len(pairs):
        raise HTTPError(422, "the query repeats a key: give top_k and look once each")
    top_k = options.get("top_k", str(min(DEFAULT_TOP_K, max_top_k)))
    if not (top_k.isascii() and top_k.isdigit() and len(top_k) < 6 and 1 <= int(top_k) <= max_top_k):
        raise HTTPError(422, f"top_k: a whole number, 1 to {max_top_k}")
    look = options.get("look", "false")
    if look not in TRUE + FALSE:
        raise HTTPError(422, "look: true or false")
    return int(top_k), look in TRUE


async def read_body(request: Request) -> bytes:
    """The whole body. Raises ClientDisconnect. Starlette's `Request.body` takes 7 microseconds more."""
    parts, more = [], True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def parse_json(body: bytes) -> object:
    """The value of a JSON body. Raises HTTPError(400)."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPError(400, "the body is not JSON", "bad_json") from None


def validate(model: type[M], value: object) -> M:
    """`value` as `model`. Raises HTTPError(422)."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise HTTPError.from_validation(error) from None


def parse_pictures(body: bytes) -> tuple[list[bytes], bool]:
    """The pictures in a JSON body, and whether they came as a list. Raises HTTPError."""
    value = parse_json(body)
    if isinstance(value, dict) and "image" in value:
        return [validate(OnePicture, value).image], False
    return validate(Pictures, value).images, True


def _index_of(box: list[int] | None, inputs: NetworkInput) -> int:
    """Which digit of a picture a correction is about. Raises HTTPError unless that is clear."""
    boxes = [list(map(int, found)) for found in inputs.boxes]
    if box is None and len(boxes) == 1:
        return 0
    if box not in boxes:
        raise HTTPError(422, f"box: digits found on this picture: {len(boxes)}; give the box of one of them")
    return boxes.index(box)
