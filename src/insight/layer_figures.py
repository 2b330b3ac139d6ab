"""Figures of what is inside a network: feature maps, filters, and images that maximize its outputs."""

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from src.insight.attribution_figures import NOTE_COLOR, SIGNED, show_image
from src.plotting import frame_image, label

MAX_MAPS, MAX_LAYERS = 16, 14
MAX_FILTER_LAYERS, MAX_KERNELS, MAX_INPUTS = 4, 64, 4
TILE = 0.94  # side of an image, of the cell that it stands in


def feature_map_figure(image: Tensor, maps: dict[str, Tensor], kinds: dict[str, str], title: str) -> Figure:
    """A row per layer with up to 16 of its maps for one image: (D, h, w) or (D,) by name.

    A vector is a strip with one stripe per value; a single value is printed. Each row has its own scale, from 0 or its
    smallest value to its largest.
    """
    heights = [1.0 if values.ndim == 3 else 0.45 for values in maps.values()]
    columns = max(8, min(MAX_MAPS, max([len(values) for values in maps.values() if values.ndim == 3] or [8])))
    cell, left, head = 0.72, 1.75, 0.75
    size = (left + cell * columns + 0.15, cell * (sum(heights) + 0.18 * len(maps) + 1.2) + head)
    figure = _titled_figure(size, title, "dark: smallest, light: largest value; each row on its own scale")
    y = size[1] - head - cell
    show_image(_axes_at(figure, left, y, cell * TILE, cell * TILE), image)
    _text_at(figure, left - 0.12, y + cell / 2, "input", fontsize=8.5, ha="right")
    for (name, output), height in zip(maps.items(), heights, strict=True):
        y -= cell * (height + 0.18)
        values = output.detach().float().cpu()
        shape = " @ ".join((str(len(values)), "x".join(map(str, values.shape[1:])))).removesuffix(" @ ")
        layer, kind = label(name), label(kinds.get(name, ""))
        text = f"{layer}\n{kind}\n{shape}" if height == 1 else f"{layer}  {kind}\n{shape}"
        _text_at(figure, left - 0.12, y + cell * height / 2, text, fontsize=7.5, ha="right")
        _draw_values(figure, values, (left, y), cell, cell * height, cell * columns - 0.04)
    return figure


def layer_figure(images: Tensor, outputs: Tensor, name: str) -> Figure:
    """A row per image with up to 16 maps (B, D, h, w) of one layer, or its vector (B, D) as a strip; a single value is
    printed."""
    columns = 1 + (min(MAX_MAPS, outputs.shape[1]) if outputs.ndim == 4 else 8)
    cell, left, head = 0.8, 0.15, 0.75
    size = (cell * max(columns, 6) + 0.3, cell * len(images) + head + 0.1)
    count, *sides = outputs.shape[1:]
    shape = f"{count} @ {'x'.join(map(str, sides))}" if sides else f"{count} values"
    note = "dark: smallest, light: largest value; each image on its own scale; left: the input"
    figure = _titled_figure(size, f"{label(name)}: {shape}", note)
    for row, (image, values) in enumerate(zip(images, outputs.detach().float().cpu(), strict=True)):
        y = size[1] - head - cell * (row + 1)
        show_image(_axes_at(figure, left, y, cell * TILE, cell * TILE), image)
        _draw_values(figure, values, (left + cell, y), cell, cell * TILE, 8.4 * cell * TILE)
    return figure


def _titled_figure(size: tuple[float, float], title: str, note: str) -> Figure:
    figure = Figure(figsize=size)
    _text_at(figure, 0.15, size[1] - 0.28, title, fontsize=11, weight="bold")
    _text_at(figure, 0.15, size[1] - 0.52, note, fontsize=8, color=NOTE_COLOR)
    return figure


def _text_at(figure: Figure, x: float, y: float, text: str, **style) -> None:
    figure.text(x, y, text, va="center", transform=figure.dpi_scale_trans, **style)


def _axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    total_width, total_height = figure.get_size_inches()
    return figure.add_axes((left / total_width, bottom / total_height, width / total_width, height / total_height))


def _draw_values(
    figure: Figure, values: Tensor, corner: tuple[float, float], cell: float, height: float, strip_width: float
) -> None:
    """Draw one layer's output from `corner` in inches: (D, h, w) as tiles, (D,) as a strip, (1,) as a number."""
    left, bottom = corner
    low, high = min(0.0, float(values.min())), max(float(values.max()), 1e-12)
    scale = {"vmin": low, "vmax": high, "interpolation": "nearest"}
    if values.shape == (1,):  # a color alone on its scale says nothing
        _text_at(figure, left + 0.05, bottom + height / 2, f"{float(values):.3g}", fontsize=9)
    elif values.ndim == 1:
        axes = _axes_at(figure, left, bottom, strip_width, height)
        axes.imshow(values[None].numpy(), aspect="auto", **scale)
        frame_image(axes)
    else:
        for index, channel in enumerate(values[:MAX_MAPS]):
            axes = _axes_at(figure, left + cell * index, bottom, cell * TILE, cell * TILE)
            axes.imshow(channel.numpy(), **scale)
            frame_image(axes)


def filter_figure(kernels: dict[str, Tensor], convolutional: bool = True) -> Figure:
    """The kernels of up to 4 layers as tiles, a row per input channel; each layer has its own scale."""
    shown = dict(list(kernels.items())[:MAX_FILTER_LAYERS])
    grids = [_mosaic(values) for values in shown.values()]
    width = 9.0
    heights = [min(5.0, max(0.5, width * grid.shape[0] / grid.shape[1])) for grid in grids]
    size = (width + 0.3, sum(heights) + 0.45 * len(grids) + 0.75)
    figure = Figure(figsize=size)
    left_out = len(kernels) - len(shown)
    title = "filters" if convolutional else "weights of the first layer, as images"
    title += f"; {left_out} more layers are in arrays.npz" if left_out else ""
    _text_at(figure, 0.15, size[1] - 0.25, title, fontsize=11, weight="bold")
    note = "orange: positive, purple: negative, white: 0; each layer on its own scale"
    _text_at(figure, 0.15, size[1] - 0.48, note, fontsize=8, color=NOTE_COLOR)
    y = size[1] - 0.65
    for (name, values), grid, height in zip(shown.items(), grids, heights, strict=True):
        _text_at(figure, 0.15, y - 0.14, f"{label(name)}: {_describe_kernels(values)}", fontsize=8.5)
        y -= 0.28 + height
        axes, limit = _axes_at(figure, 0.15, y, width, height), float(np.nanquantile(np.abs(grid), 0.995)) or 1.0
        axes.imshow(grid, cmap=SIGNED, vmin=-limit, vmax=limit, interpolation="nearest", aspect="equal")
        axes.set_anchor("NW")
        axes.set_axis_off()
        y -= 0.17
    return figure


def _describe_kernels(values: Tensor) -> str:
    outputs, inputs, height, width = values.shape
    text = f"{outputs} kernels of {height}x{width}"
    text += f", {inputs} input channels, one per row" if inputs > 1 else ""
    text += f", the first {MAX_INPUTS}" if inputs > MAX_INPUTS + 2 else ""
    shown = min(outputs, MAX_KERNELS) if inputs == 1 else min(outputs, 16)
    return text + (f"; the first {shown} kernels" if shown < outputs else "")


def _mosaic(values: Tensor) -> np.ndarray:
    """Kernels side by side with gaps of NaN: rows of up to 16 for one input channel, else a row per input channel."""
    outputs, inputs, height, width = values.shape
    tiles = values.detach().float().cpu()
    if inputs == 1:
        columns = min(16, outputs)
        tiles = tiles[:MAX_KERNELS, 0]
        rows = math.ceil(len(tiles) / columns)
    else:
        tiles = tiles[:16, : inputs if inputs <= MAX_INPUTS + 2 else MAX_INPUTS].transpose(0, 1)
        rows, columns = tiles.shape[:2]
        tiles = tiles.flatten(0, 1)
    gap = max(1, round(0.12 * width)) if width > 7 else 1
    grid = torch.full((rows * (height + gap) - gap, max(columns, 6) * (width + gap) - gap), math.nan)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        top, left = row * (height + gap), column * (width + gap)
        grid[top : top + height, left : left + width] = tile
    return grid.numpy()


def class_image_figure(images: Tensor, names: list[str], notes: list[str], title: str) -> Figure:
    """The images (T, C, H, W) that maximize an output each, with a name above and a note below."""
    columns = min(5 if len(images) <= 10 else 8, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(max(1.5 * columns + 0.3, 4.5), 1.85 * rows + 0.7), layout="constrained")
    figure.suptitle(title, fontsize=11, weight="bold")
    for index, (image, name, note) in enumerate(zip(images, names, notes, strict=True)):
        axes = figure.add_subplot(rows, columns, index + 1)
        show_image(axes, image)
        axes.set_title(name, fontsize=10, pad=3)
        axes.set_xlabel(note, fontsize=8, labelpad=2)
    return figure
