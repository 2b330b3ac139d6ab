"""A plane of points with thumbnails where there is room for them."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from src.dataset_report.embeddings import densest, place, to_square
from src.dataset_report.figures import colour_of
from src.dataset_report.image_grids import SMALL, WIDE, enlarged, shorten, to_rgb
from src.dataset_report.ink_measures import ink_of

SIDE, CANVAS = 30, 1200  # of a thumbnail and of the whole, pixels
NAME = 12  # characters of a class' name; longer ones hide the thumbnails
INK = 0.85  # thumbnails are so much darker than their colour, for thin strokes on white


def thumbnails(
    points: np.ndarray, images: Tensor, labels: Tensor, class_names: Sequence[str], axis_names: tuple[str, str]
) -> tuple[Figure, int]:
    """A map of `points` (N, 2) and how many thumbnails had room; those without are dots in their class' colour.

    images: uint8 (N, C, H, W). Ink of one channel is drawn in the class' colour on white, colours as they are in a
    coloured frame. The name of a class stands where most of its points are.
    """
    classes, square = len(class_names), to_square(points)
    kept = place(square * (CANVAS - SIDE), SIDE + 1)
    small = enlarged(images[kept], SIDE)
    colours = np.array([colour_of(label, classes) for label in range(classes)], np.float32)
    sheet = np.ones((CANVAS, CANVAS, 3), np.float32)
    alphas = ink_of(small)
    alphas = (alphas / alphas.amax((1, 2), keepdim=True).clamp_min(1e-6)).numpy()[..., None]
    plain = to_rgb(small) if images.shape[1] == 3 else None
    for index, row in enumerate(kept):
        colour = INK * colours[int(labels[row])]
        if plain is None:
            picture = 1 - alphas[index] * (1 - colour)
        else:
            picture = plain[index].copy()
            picture[:2], picture[-2:], picture[:, :2], picture[:, -2:] = colour, colour, colour, colour
        height, width = picture.shape[:2]
        left, top = (int(value) for value in square[row] * (CANVAS - SIDE))
        top = CANVAS - SIDE - top + (SIDE - height) // 2
        left += (SIDE - width) // 2
        sheet[top : top + height, left : left + width] = picture
    figure = Figure(figsize=(WIDE, WIDE + 0.25), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(sheet, extent=(0, 1, 0, 1), interpolation="antialiased")
    rest = np.setdiff1d(np.arange(len(square)), kept)
    middle = (square * (CANVAS - SIDE) + SIDE / 2) / CANVAS
    axes.scatter(*middle[rest].T, s=4, c=colours[labels.numpy()[rest]], alpha=0.45, linewidths=0)
    for label in range(classes):
        own = (labels == label).numpy()
        if own.any():
            x, y = densest(middle[own])
            name = shorten(class_names[label], NAME)
            size = 15 if classes <= 12 and len(name) < 3 else 9 if len(name) < 5 else 7
            room = [size * (0.34 * len(name) + 0.7) / (72 * WIDE), size * 1.2 / (72 * WIDE)]  # to the frame, of 1
            x, y = np.clip((x, y), room, np.subtract(1, room))
            dark = matplotlib.colors.to_hex(colours[label] * 0.6)
            text = axes.text(
                x, y, name, ha="center", va="center", weight="bold", color=dark, fontsize=size
            )  # fmt: skip
            text.set_bbox({"facecolor": "white", "alpha": 0.9, "edgecolor": dark, "boxstyle": "round,pad=0.2", "lw": 1})
    axes.set_xlabel(axis_names[0], fontsize=SMALL)
    axes.set_ylabel(axis_names[1], fontsize=SMALL)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#cccccc")
    return figure, len(kept)
