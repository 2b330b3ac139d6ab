"""The built-in digit: a hand-drawn 7 that a network must recognise before the server reports ready."""

import io
from functools import lru_cache

from PIL import Image, ImageDraw

from src.data.info import DataInfo

SIDE, PEN = 280, 22  # pixels
STROKE = ((82, 76), (196, 72), (176, 118), (150, 164), (132, 214))  # corners of the line, x and y in pixels
LABEL = "7"
DIGITS = tuple("0123456789")


@lru_cache(maxsize=1)
def sample_digit() -> bytes:
    """A 7 in black on white, 280x280, PNG."""
    canvas = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(canvas)
    pen.line(STROKE, fill=0, width=PEN, joint="curve")
    for x, y in STROKE:
        pen.ellipse((x - PEN / 2, y - PEN / 2, x + PEN / 2, y + PEN / 2), fill=0)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def expected_label(info: DataInfo, ink: bool) -> str | None:
    """The label of the built-in digit; None for networks of other classes, or that read pictures without ink."""
    return LABEL if ink and info.class_names == DIGITS else None
