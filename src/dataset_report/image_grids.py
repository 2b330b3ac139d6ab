"""Many small images in one figure."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from src.plotting import FRAME, MANY_CLASSES, display_width, frame_image

WIDTH = 7.2  # inches, of every figure on the page; a phone shows it at half size
FONT_SIZE = 8.5  # points
MIN_SIDE = 24  # pixels; smaller images are enlarged, so that the gap between two of them stays narrow
DPI = 140


def add_axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a distance from the figure's left and upper edge, in inches."""
    total_width, total_height = figure.get_size_inches()
    box = (left / total_width, 1 - (top + height) / total_height, width / total_width, height / total_height)
    return figure.add_axes(box)


def to_float_rgb(images: Tensor) -> np.ndarray:
    """Grey levels (N, C, H, W), of 1 or 3 channels, as floats (N, H, W, 3) from 0 to 1."""
    return images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).float().div(255).clamp(0, 1).numpy()


def enlarge_small(pictures: np.ndarray) -> np.ndarray:
    """Pictures (N, H, W, 3) of less than 24 pixels a side, with each pixel repeated until they have as many."""
    times = -(-MIN_SIDE // min(pictures.shape[1:3]))
    return pictures if times < 2 else pictures.repeat(times, 1).repeat(times, 2)


def tile_pictures(pictures: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """Pictures (N, H, W, 3) row by row with white gaps: one (h, w, 3)."""
    count, height, width, _ = pictures.shape
    rows = max(1, -(-count // columns))
    tiled = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), np.float32)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        tiled[top : top + height, left : left + width] = picture
    return tiled


def spread_classes(counts: Sequence[int]) -> list[int]:
    """The classes that a figure shows: all, or MANY_CLASSES of them, from the smallest to the largest."""
    if len(counts) <= MANY_CLASSES:
        return list(range(len(counts)))
    by_size = np.argsort(counts, kind="stable")
    return sorted(by_size[np.linspace(0, len(counts) - 1, MANY_CLASSES).round().astype(int)].tolist())


def picture_table(
    pictures: np.ndarray, columns: int, row_names: Sequence[str], framed: Sequence[bool] | None = None
) -> Figure:
    """A table of pictures (N, H, W, 3) with a name beside each row, each cell as large as there is room.

    framed: which pictures get a thin frame, False for empty cells; None frames all.
    """
    gap = 2
    pictures, rows = enlarge_small(pictures), len(row_names)
    height, width = pictures.shape[1] + gap, pictures.shape[2] + gap
    margin = min(1.6, 0.16 + 0.075 * max(map(display_width, row_names)))
    cell = min((WIDTH - margin - 0.1) / columns, 0.95)
    body = rows * cell * height / width
    figure = Figure(figsize=(margin + columns * cell + 0.1, body + 0.12))
    axes = add_axes_at(figure, margin, 0.06, columns * cell, body)
    # A small image is enlarged with hard pixels, a large one averaged.
    interpolation = "nearest" if width < 64 else "antialiased"
    axes.imshow(tile_pictures(pictures, columns, gap), interpolation=interpolation, aspect="auto")
    frames = [
        Rectangle((index % columns * width - 0.5, index // columns * height - 0.5), width - gap, height - gap)
        for index in range(len(pictures))
        if framed is None or framed[index]
    ]
    axes.add_collection(PatchCollection(frames, clip_on=False, edgecolor=FRAME, linewidth=0.6, facecolor="none"))
    axes.set_yticks([row * height + (height - gap) / 2 for row in range(rows)], row_names, fontsize=FONT_SIZE)
    axes.set_xticks([])
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)
    return figure


def captioned_pictures(
    pictures: np.ndarray,
    above: Sequence[str],
    below: Sequence[str],
    columns: int = 6,
    colors: tuple[str, str] = ("black", "black"),
) -> Figure:
    """Pictures (N, H, W, 3), each with a line above it and up to three below.

    colors: of the lines above and below. Axes are placed by hand: matplotlib's own layout takes seconds for fifty.
    """
    rows, (height, width) = max(1, math.ceil(len(pictures) / columns)), pictures.shape[1:3]
    cell, lines = WIDTH / columns, max((text.count("\n") + 1 for text in below), default=1)
    body = 0.86 * cell * height / width
    row_height = body + 0.24 + 0.15 * lines
    figure = Figure(figsize=(WIDTH, rows * row_height))
    for index, picture in enumerate(pictures):
        left, top = index % columns * cell + 0.07 * cell, index // columns * row_height + 0.19
        axes = add_axes_at(figure, left, top, 0.86 * cell, body)
        axes.imshow(picture, interpolation="nearest" if height < 64 else "antialiased", aspect="auto")
        axes.set_title(above[index], fontsize=FONT_SIZE, pad=2, color=colors[0])
        axes.set_xlabel(below[index], fontsize=FONT_SIZE, labelpad=2, color=colors[1], linespacing=1.15)
        frame_image(axes)
    return figure


def pair_pictures(left: Tensor, right: Tensor) -> np.ndarray:
    """Two sets of images (N, C, H, W) side by side, small ones enlarged: (N, h, w + 2 + w, 3)."""
    first, second = (enlarge_small(to_float_rgb(images)) for images in (left, right))
    return np.concatenate([first, np.full((*first.shape[:2], 2, 3), 0.8, np.float32), second], 2)


def resize_longer_side(images: Tensor, side: int) -> Tensor:
    """Grey levels (N, C, H, W) as float32 with the longer side `side` pixels."""
    scale = side / max(images.shape[2:])
    size = [max(1, round(length * scale)) for length in images.shape[2:]]
    return F.interpolate(images.float(), size, mode="area" if scale < 1 else "bilinear")


def sample_per_class(labels: Tensor, classes: int, count: int, seed: int) -> list[Tensor]:
    """Up to `count` rows of each class, drawn by `seed`."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return [order[labels[order] == label][:count] for label in range(classes)]
