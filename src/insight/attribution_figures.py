"""Figures of single predictions: the attributions of each method, and the nearest training images."""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from torch import Tensor

from src.plotting import RIGHT, WRONG, display_width, frame_image, label

METHOD_TITLES = {
    "saliency": "saliency",
    "integrated_gradients": "integrated\ngradients",
    "smooth_grad": "SmoothGrad",
    "grad_cam": "Grad-CAM",
    "occlusion": "occlusion",
}
SIGNED, UNSIGNED = "PuOr_r", "viridis"  # orange raises, purple lowers; filters, grids and notebooks use them too
NON_NEGATIVE = ("saliency", "grad_cam")
MAX_CAPTION = 17  # characters of 6.5 points that fit under an image of an inch
NOTE_COLOR = "#40444b"


@dataclass
class Caption:
    """The text beside an image."""

    name: str  # where the image comes from
    prediction: str
    truth: str = ""  # empty if unknown
    correct: bool | None = None  # None if unknown
    note: str = ""  # which class the maps explain


def attribution_figure(images: Tensor, captions: list[Caption], maps: dict[str, Tensor], notes: list[str]) -> Figure:
    """A row per image: the network's input, then the map of each method; more than 6 images stand in two columns.

    images: grey levels (B, C, H, W). maps: (B, C or 1, H, W) by method; channels are summed. The outline of the ink is
    drawn on each map; an image without a dark background shines through instead. notes: printed at the foot.
    """
    count, columns = len(images), len(maps) + 1
    sides = 2 if count > 6 else 1
    rows = -(-count // sides)
    widths = [_text_width(captions), *[1.0] * columns, *([0.15] if sides == 2 else [])] * sides
    per_side = len(widths) // sides
    cell, head, right_edge = 1.08, 0.62, 1.08 * sum(widths) + 0.1
    note = ";  ".join(notes) if sides == 2 else "\n".join(notes)
    foot = 0.72 + 0.14 * (note.count("\n") + 1)
    size = (max(right_edge + 0.1, 5.2), cell * rows + head + foot)
    figure = Figure(figsize=size)
    grid = GridSpec(
        rows, len(widths), figure, width_ratios=widths, wspace=0.06, hspace=0.06,
        left=0.1 / size[0], right=right_edge / size[0], top=1 - head / size[1], bottom=foot / size[1],
    )  # fmt: skip
    for index in range(count):
        side, row = divmod(index, rows)
        start = side * per_side
        _write_caption(figure.add_subplot(grid[row, start]), captions[index])
        axes = figure.add_subplot(grid[row, start + 1])
        show_image(axes, images[index])
        axes.set_title("input" if row == 0 else "", fontsize=9)
        for column, (method, values) in enumerate(maps.items()):
            axes = figure.add_subplot(grid[row, start + 2 + column])
            show_map(axes, images[index], values[index].sum(0), signed=method not in NON_NEGATIVE)
            axes.set_title(METHOD_TITLES[method] if row == 0 else "", fontsize=9)
    _draw_color_scales(figure, size, foot - 0.24, list(maps))
    figure.text(0.12 / size[0], 0.1 / size[1], note, fontsize=7.5, va="bottom", color=NOTE_COLOR)
    return figure


def _draw_color_scales(figure: Figure, size: tuple[float, float], bottom: float, methods: list[str]) -> None:
    left = 0.12
    scales = [
        (SIGNED, 1.7, "lowers the output", "raises it", any(method not in NON_NEGATIVE for method in methods)),
        (UNSIGNED, 1.0, "none", "most", any(method in NON_NEGATIVE for method in methods)),
    ]
    for colormap, width, low, high, used in scales:
        if not used:
            continue
        axes = figure.add_axes((left / size[0], bottom / size[1], width / size[0], 0.09 / size[1]))
        axes.imshow(np.linspace(0, 1, 64)[None], aspect="auto", cmap=colormap)
        axes.set_xticks([0, 63], [low, high], fontsize=7)
        axes.tick_params(length=0, pad=1)
        axes.get_xticklabels()[0].set_ha("left")
        axes.get_xticklabels()[1].set_ha("right")
        axes.set_yticks([])
        left += width + 0.25


def _text_width(captions: list[Caption]) -> float:
    """Of the column of captions, in columns of about an inch."""
    predictions = (0.085 * (display_width(caption.prediction) + 3) for caption in captions)
    return max(1.25, *predictions, *(0.068 * display_width(caption.name) for caption in captions))


def _write_caption(axes: Axes, caption: Caption) -> None:
    axes.set_axis_off()
    mark, color = {None: ("", "black"), True: ("✓ ", RIGHT), False: ("✗ ", WRONG)}[caption.correct]
    lines = [(caption.name, NOTE_COLOR, 7.5), (mark + caption.prediction, color, 9.5)]
    lines += [line for line in ((caption.truth, "black", 8), (caption.note, NOTE_COLOR, 7.5)) if line[0]]
    for index, (text, color, size) in enumerate(lines):
        height = 0.5 + 0.21 * ((len(lines) - 1) / 2 - index)
        axes.text(0.97, height, text, color=color, fontsize=size, ha="right", va="center", transform=axes.transAxes)


def show_image(axes: Axes, image: Tensor) -> None:
    """An image of grey levels 0..255, (1 or 3, H, W), without ticks."""
    pixels = (image if len(image) == 3 else image[:1]).detach().float().cpu().clamp(0, 255) / 255
    axes.imshow(pixels.permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    frame_image(axes)


def show_map(axes: Axes, image: Tensor, values: Tensor, signed: bool) -> None:
    """One map (H, W) in color, scaled to its 99.5th percentile, with the image's outline."""
    values, grey = values.detach().float().cpu(), image.detach().float().mean(0).cpu()
    limit = float(torch.quantile(values.abs().flatten(), 0.995)) or float(values.abs().max()) or 1.0
    scaled = (values / limit).clamp(-1, 1).numpy()
    colors = colormaps[SIGNED]((scaled + 1) / 2) if signed else colormaps[UNSIGNED](scaled)
    has_outline = float(grey.median()) < 32 < float(grey.max())  # light ink on a dark background
    if not has_outline:
        colors[..., :3] *= 0.45 + 0.55 * (grey / 255).clamp(0, 1).numpy()[..., None]
    axes.imshow(colors, interpolation="nearest")
    if has_outline:
        color = "#2b2d31" if signed else "white"
        axes.contour(grey.numpy(), levels=[float(grey.max()) / 2], colors=color, linewidths=0.6, alpha=0.8)
    frame_image(axes)


def _label_and_distance(name: str, distance: float) -> str:
    """Both within the width of a small image; a long name is cut."""
    number = f"{distance:.{1 if distance >= 1 else 2}f}"
    fits = display_width(name) + len(number) <= 9
    between, most = ("  ·  ", MAX_CAPTION) if fits else (" · ", MAX_CAPTION - len(number) - 3)
    return label(name, most) + between + number


def neighbor_figure(
    images: Tensor,
    captions: list[Caption],
    neighbors: Tensor,
    labels: list[list[str]],
    distances: Tensor,
    note: str,
    names: list[list[str]] | None = None,
) -> Figure:
    """A row per image: the image, then its nearest training images (B, K, C, H, W) with label and distance (B, K), and
    with their `names`, rows or files. note: printed at the foot."""
    count, nearest = len(images), neighbors.shape[1]
    sides = 2 if count > 6 else 1
    lines = -(-count // sides)
    widths = [_text_width(captions) + 0.05, 1.0, 0.12, *[1.0] * nearest, 0.15] * sides
    cell, head, foot = 1.34 if names else 1.22, 0.35, 0.62 if names else 0.45
    size = (sum(widths) + 0.2, max(cell * lines + head + foot, 2.2))
    figure = Figure(figsize=size)
    grid = GridSpec(
        lines, len(widths), figure, width_ratios=widths, wspace=0.08, hspace=0.38 if names else 0.3,
        left=0.1 / size[0], right=1 - 0.1 / size[0], top=1 - head / size[1], bottom=foot / size[1],
    )  # fmt: skip
    texts = [list(map(_label_and_distance, *pair)) for pair in zip(labels, distances.tolist(), strict=True)]
    size_pt = 7.5 if max(len(text) for line in texts for text in line) <= 14 else 6.5
    for index in range(count):
        side, line = divmod(index, lines)
        start = side * (nearest + 4)
        _write_caption(figure.add_subplot(grid[line, start]), captions[index])
        axes = figure.add_subplot(grid[line, start + 1])
        show_image(axes, images[index])
        axes.set_title("input" if line == 0 else "", fontsize=9)
        for rank in range(nearest):
            axes = figure.add_subplot(grid[line, start + 3 + rank])
            show_image(axes, neighbors[index, rank])
            name = "\n" + names[index][rank] if names else ""
            axes.set_xlabel(texts[index][rank] + name, fontsize=size_pt, labelpad=2)
            axes.set_title(("nearest" if rank == 0 else f"{rank + 1}.") if line == 0 else "", fontsize=9)
    figure.text(0.12 / size[0], 0.16 / size[1], note, fontsize=7.5, va="center", color=NOTE_COLOR)
    return figure
