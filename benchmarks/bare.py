"""A server that only decodes the picture of each request, on the same uvicorn: a baseline for `benchmarks.serve`.

python -m benchmarks.bare <port> [pillow|decode]
"""

import io
import sys

import uvicorn
from PIL import Image

from src.pictures.decode import REQUEST_LIMITS, decode
from src.pictures.reader import MAX_SIDE


def decode_with_pillow(body: bytes) -> int:
    """Decode with Pillow, without checks."""
    with Image.open(io.BytesIO(body), formats=REQUEST_LIMITS.formats) as picture:
        picture.load()
        return picture.width


def decode_within_limits(body: bytes) -> int:
    """Decode as the server does: limits, EXIF, transparency, grey."""
    return decode(body, REQUEST_LIMITS, 1, MAX_SIDE).size[0]


def make_app(decode_body):
    """A minimal ASGI application."""

    async def app(scope, receive, send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message.get("more_body", False)
        content = b'{"width": %d}' % decode_body(body)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app


if __name__ == "__main__":
    decoder = {"pillow": decode_with_pillow, "decode": decode_within_limits}[sys.argv[2]]
    uvicorn.run(
        make_app(decoder), port=int(sys.argv[1]), loop="uvloop", http="httptools",
        ws="none", lifespan="off", log_level="warning", access_log=False,
    )  # fmt: skip
