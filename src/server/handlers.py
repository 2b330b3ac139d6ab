"""POST /predict and POST /corrections."""

import asyncio
import json
import logging
from collections.abc import Callable
from urllib.parse import parse_qsl

from pydantic import ValidationError

from src.data.sources.corrections import Feedback, FullError
from src.errors import InputError
from src.pictures.decode import PictureError
from src.server.batcher import Batcher, Job
from src.server.body_limits import check_length, read_body
from src.server.errors import Refusal
from src.server.middleware import respond
from src.server.schema import Correction, OnePicture, Pictures

log = logging.getLogger(__name__)
TOP = 3  # classes that an answer lists if nothing is asked for
RAW = (b"image/", b"application/octet-stream")
YES, NO = ("true", "1"), ("false", "0")


class Predict:
    """POST /predict, as a bare ASGI application: a framework's way to a handler costs more than the network."""

    def __init__(self, engine: Batcher, body_bytes: int):
        self.engine, self.body_bytes = engine, body_bytes

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        request_id, headers, until = scope["asked"]
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        as_json = kind == b"application/json"
        if not as_json and not kind.startswith(RAW):
            raise Refusal(415, "send a picture as image/*, or base64 in application/json")
        query = scope["query_string"]
        top_k, look = options(query, self.engine.served.top_most) if query else (TOP, False)
        check_length(headers, self.body_bytes)
        self.engine.admission.check()
        body = await read_body(receive, self.body_bytes, until)
        pictures, several = unpacked(body) if as_json else ([body], False)
        work = await self.engine.do(Job(pictures, until, top_k, look))
        tail = f', "model": {work.served.model_json}, "request_id": "{request_id}"}}'
        if several:
            given = [_in_place(said, request_id) for said in work.answers]
            await respond(send, 200, (json.dumps({"answers": given})[:-1] + tail).encode())
            return
        (said,) = work.answers
        if isinstance(said, PictureError):
            raise Refusal.of_picture(said)
        await respond(send, 200, (json.dumps(said)[:-1] + tail).encode())


def options(query: bytes, classes: int) -> tuple[int, bool]:
    """top_k and look of a query. Raises Refusal for other keys, one that comes twice, and values that are not taken."""
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise Refusal(422, "the query has more than 20 fields") from None
    given = dict(pairs)
    if not given.keys() <= {"top_k", "look"}:
        raise Refusal(422, f"the query has another key: there are top_k (1 to {classes}) and look (true or false)")
    if len(given) < len(pairs):
        raise Refusal(422, "the query has a key twice: give top_k and look once each")
    top_k, look = given.get("top_k", str(TOP)), given.get("look", "false")
    if not (top_k.isascii() and top_k.isdigit() and len(top_k) < 6 and 1 <= int(top_k) <= classes) and "top_k" in given:
        raise Refusal(422, f"top_k: a whole number, 1 to {classes}")
    if look not in YES + NO:
        raise Refusal(422, "look: true or false")
    return int(top_k), look in YES


def unpacked(body: bytes) -> tuple[list[bytes], bool]:
    """The pictures in a JSON body, and whether they came as a list. Raises Refusal."""
    try:
        return [OnePicture.model_validate_json(body).image], False
    except ValidationError as single:
        try:
            return Pictures.model_validate_json(body).images, True
        except ValidationError as error:
            asks_one = any(problem["loc"][:1] == ("image",) and problem["type"] != "missing" for problem in
                           single.errors(include_url=False, include_input=False))  # fmt: skip
            raise Refusal.of_fields((single if asks_one else error).errors(include_url=False, include_input=False)
                                    ) from None  # fmt: skip


def _in_place(said: dict | PictureError, request_id: str) -> dict:
    return {"error": Refusal.of_picture(said).fields(request_id)} if isinstance(said, PictureError) else said


async def correct(given: Correction, engine: Batcher, store: Feedback | None, until: float) -> int:
    """Keep a correction; its number. The picture is read again, as the network reads it.

    Raises Refusal: corrections are off, the class or the box does not exist, the store is full or cannot be written.
    """
    info = engine.served.info
    if store is None:
        raise Refusal(404, "corrections are off: python -m src.serve feedback=<file> takes them", "corrections_off")
    if info.target or given.correction not in info.class_names:
        known = ", ".join(info.class_names[:40]) if not info.target else "none, this network gives a number"
        raise Refusal(422, f"correction: no class of this network; there are: {known}")
    work = await engine.do(Job([given.image], until, keep=True))
    (said,) = work.answers
    if isinstance(said, PictureError):
        raise Refusal.of_picture(said)
    (reading,) = work.readings
    boxes = [list(map(int, box)) for box in reading.boxes]
    if given.box is None and len(boxes) == 1:
        place = 0
    elif given.box in boxes:
        place = boxes.index(given.box)
    else:
        raise Refusal(422, f"box: {len(boxes)} digits are found on this picture, give the box of one of them")
    try:
        return await asyncio.to_thread(
            store.add, reading.images[place], given.image, given.answer, given.correction, work.served.net.digest
        )
    except FullError as error:
        log.warning("a correction was refused: %s", error)
        raise Refusal(429, "the server has taken as many corrections as it has room for", "full") from None
    except InputError as error:
        log.error("a correction was not kept: %s", error)
        raise Refusal(503, "the server cannot write corrections down; its log says why", "not_kept") from None
