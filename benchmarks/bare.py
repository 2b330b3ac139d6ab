"""A handler that only opens the picture it is sent, on the same uvicorn: what `benchmarks.serve` is compared with.

python -m benchmarks.bare <port> [pillow|decode]
"""

import io
import sys

import uvicorn
from PIL import Image

from src.pictures.decode import REQUEST_LIMITS, decode
from src.pictures.reader import MAX_SIDE


def pillow(body: bytes) -> int:
    """Decoded by Pillow, and nothing else."""
    with Image.open(io.BytesIO(body), formats=REQUEST_LIMITS.formats) as picture:
        picture.load()
        return picture.width


def ours(body: bytes) -> int:
    """Decoded as the server does it: limits, EXIF, transparency, grey."""
    return decode(body, REQUEST_LIMITS, 1, MAX_SIDE).size[0]


def make(read):
    """The least that an ASGI application can be."""

    async def app(scope, receive, send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message.get("more_body", False)
        answer = b'{"width": %d}' % read(body)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


if __name__ == "__main__":
    uvicorn.run(
        make({"pillow": pillow, "decode": ours}[sys.argv[2]]), port=int(sys.argv[1]), loop="uvloop", http="httptools",
        ws="none", lifespan="off", log_level="warning", access_log=False,
    )  # fmt: skip
