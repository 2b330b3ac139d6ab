"""The built-in digit: a 7 as somebody may draw it, that a network reads before a server says that it is ready."""

import io
from functools import lru_cache

from PIL import Image, ImageDraw

from src.data.info import DataInfo

SIDE, PEN = 280, 22  # pixels
STROKE = ((82, 76), (196, 72), (176, 118), (150, 164), (132, 214))  # places of the pen, x and y in pixels
LABEL = "7"
DIGITS = tuple("0123456789")


@lru_cache(maxsize=1)
def sample() -> bytes:
    """A 7 in black on white, 280x280, PNG."""
    page = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(page)
    pen.line(STROKE, fill=0, width=PEN, joint="curve")
    for x, y in STROKE:
        pen.ellipse((x - PEN / 2, y - PEN / 2, x + PEN / 2, y + PEN / 2), fill=0)
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


def expected(info: DataInfo, ink: bool) -> str | None:
    """What a network should say to it; None where its classes are not the ten digits, or it does not read ink."""
    return LABEL if ink and not info.target and info.class_names == DIGITS else None
