"""Many small images in one picture."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

WIDE = 7.2  # inches; every picture of the page is so wide, which a phone shows at half size
SMALL = 8.5  # points
FRAME = {"edgecolor": "#c8ccd0", "linewidth": 0.6, "facecolor": "none"}  # where a picture ends that is white itself
FINE = 24  # pixels a side at least, so that the gap between two pictures stays narrow
DPI = 140


def to_rgb(images: Tensor) -> np.ndarray:
    """Grey levels (N, C, H, W), of 1 or 3 channels, as floats (N, H, W, 3) from 0 to 1."""
    return images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).float().div(255).clamp(0, 1).numpy()


def fine(pictures: np.ndarray) -> np.ndarray:
    """Small pictures (N, H, W, 3) with each pixel repeated, to 24 pixels a side or more."""
    times = -(-FINE // min(pictures.shape[1:3]))
    return pictures if times < 2 else pictures.repeat(times, 1).repeat(times, 2)


def tile(pictures: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """Pictures (N, H, W, 3) row by row with white between them: (rows, columns) as one (h, w, 3)."""
    count, height, width, _ = pictures.shape
    rows = max(1, -(-count // columns))
    sheet = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), np.float32)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def shorten(name: str, most: int = 14) -> str:
    """A class' name for a picture: not too long, and no formula of matplotlib's."""
    name = name if len(name) <= most else name[: most - 1] + "…"
    return name.replace("$", r"\$")


def sheet(
    pictures: np.ndarray,
    columns: int,
    row_names: Sequence[str],
    column_names: Sequence[str] = (),
    gap: int = 2,
    framed: Sequence[bool] | None = None,
) -> Figure:
    """A table of pictures (N, H, W, 3) with the names of its rows and columns, each cell as large as there is room.

    framed: which pictures get a thin frame; None for all, False for places that are empty.
    """
    pictures, rows = fine(pictures), len(row_names)
    height, width = pictures.shape[1] + gap, pictures.shape[2] + gap
    margin = min(1.6, 0.16 + 0.075 * max(map(len, row_names)))
    cell = min((WIDE - margin - 0.1) / columns, 0.95)
    top = 0.28 if column_names else 0.06
    body = rows * cell * height / width
    total = (margin + columns * cell + 0.1, body + top + 0.06)
    figure = Figure(figsize=total)
    axes = figure.add_axes((margin / total[0], 0.06 / total[1], columns * cell / total[0], body / total[1]))
    # A small image is enlarged with hard pixels, a large one averaged.
    axes.imshow(tile(pictures, columns, gap), interpolation="nearest" if width < 64 else "antialiased", aspect="auto")
    shown = [index for index in range(len(pictures)) if framed is None or framed[index]]
    boxes = [
        Rectangle((at % columns * width - 0.5, at // columns * height - 0.5), width - gap, height - gap) for at in shown
    ]
    axes.add_collection(PatchCollection(boxes, clip_on=False, **FRAME))
    axes.set_yticks([row * height + (height - gap) / 2 for row in range(rows)], row_names, fontsize=SMALL)
    places = [column * width + (width - gap) / 2 for column in range(len(column_names))]
    axes.set_xticks(places, column_names, fontsize=SMALL)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)
    return figure


def captioned(
    pictures: np.ndarray, above: Sequence[str], below: Sequence[str], columns: int = 6, colours: Sequence[str] = ()
) -> Figure:
    """Pictures (N, H, W, 3), each with a line above it and up to two below.

    colours: of the lines above and below. Placed by hand: matplotlib's own layout takes seconds for fifty axes.
    """
    rows, (height, width) = max(1, math.ceil(len(pictures) / columns)), pictures.shape[1:3]
    cell, lines = WIDE / columns, max((text.count("\n") + 1 for text in below), default=1)
    body = 0.86 * cell * height / width
    one = body + 0.24 + 0.15 * lines
    figure = Figure(figsize=(WIDE, rows * one))
    ink = [*colours, "black", "black"]
    for index, picture in enumerate(pictures):
        left, top = index % columns * cell + 0.07 * cell, rows * one - index // columns * one - 0.19
        box = (left / WIDE, (top - body) / (rows * one), 0.86 * cell / WIDE, body / (rows * one))
        axes = figure.add_axes(box)
        axes.imshow(picture, interpolation="nearest" if height < 64 else "antialiased", aspect="auto")
        axes.set_title(above[index], fontsize=SMALL, pad=2, color=ink[0])
        axes.set_xlabel(below[index], fontsize=SMALL, labelpad=2, color=ink[1], linespacing=1.15)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set(color=FRAME["edgecolor"], linewidth=FRAME["linewidth"])
    return figure


def side_by_side(left: Tensor, right: Tensor, gap: int = 2) -> np.ndarray:
    """Two sets of images (N, C, H, W) as pairs, small ones enlarged: (N, h, w + gap + w, 3)."""
    pair = [fine(to_rgb(images)) for images in (left, right)]
    space = np.full((*pair[0].shape[:2], gap, 3), 0.8, np.float32)
    return np.concatenate([pair[0], space, pair[1]], 2)


def enlarged(images: Tensor, side: int) -> Tensor:
    """Grey levels (N, C, H, W) as float32 with the longer side `side` pixels."""
    scale = side / max(images.shape[2:])
    size = [max(1, round(length * scale)) for length in images.shape[2:]]
    return F.interpolate(images.float(), size, mode="area" if scale < 1 else "bilinear")


def first_of_each(labels: Tensor, classes: int, count: int, seed: int) -> list[Tensor]:
    """Up to `count` rows of each class, drawn by `seed`."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return [order[labels[order] == label][:count] for label in range(classes)]
