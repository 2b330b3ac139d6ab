"""Pictures of what is inside a network: feature maps, filters, and the images that excite its answers."""

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from src.insight.attribution_figures import bare, show

MOST_MAPS, MOST_LAYERS, MOST_FILTERS, MOST_KERNELS, MOST_INPUTS = 16, 14, 4, 64, 4
GREY = "#40444b"


def feature_map_figure(image: Tensor, maps: dict[str, Tensor], kinds: dict[str, str], title: str) -> Figure:
    """A row per layer with up to 16 of its maps, for one image: (D, h, w) or (D,) by name.

    Numbers without places are a strip, one stripe each; a single one is written. Each row has its own scale, from 0 or
    its least value to its largest.
    """
    names = list(maps)
    heights = [1.0 if maps[name].ndim == 3 else 0.45 for name in names]
    columns = min(MOST_MAPS, max([len(values) for values in maps.values() if values.ndim == 3] or [8]))
    cell, left, head = 0.72, 1.75, 0.75
    size = (left + cell * max(columns, 8) + 0.15, cell * (sum(heights) + 0.18 * len(names) + 1.2) + head)
    figure = Figure(figsize=size)
    figure.text(0.15 / size[0], 1 - 0.28 / size[1], title, fontsize=11, weight="bold", va="center")
    note = "dark: least, light: most, each row on its own scale"
    figure.text(0.15 / size[0], 1 - 0.52 / size[1], note, fontsize=8, va="center", color=GREY)
    y = size[1] - head - cell
    show(figure.add_axes((left / size[0], y / size[1], cell * 0.94 / size[0], cell * 0.94 / size[1])), image)
    figure.text((left - 0.12) / size[0], (y + cell / 2) / size[1], "input", fontsize=8.5, ha="right", va="center")
    for name, height in zip(names, heights, strict=True):
        y -= cell * (height + 0.18)
        values = maps[name].detach().float().cpu()
        shape = " @ ".join((str(len(values)), "x".join(map(str, values.shape[1:])))).removesuffix(" @ ")
        text = f"{name}\n{kinds.get(name, '')}\n{shape}" if height == 1 else f"{name}  {kinds.get(name, '')}\n{shape}"
        middle = (y + cell * height / 2) / size[1]
        figure.text((left - 0.12) / size[0], middle, text, fontsize=7.5, ha="right", va="center")
        low, high = min(0.0, float(values.min())), max(float(values.max()), 1e-12)
        if values.shape == (1,):  # alone on its scale, a colour says nothing
            figure.text((left + 0.05) / size[0], middle, f"{float(values):.3g}", fontsize=9, va="center")
            continue
        if values.ndim == 1:
            wide = cell * max(columns, 8) - 0.04
            axes = figure.add_axes((left / size[0], y / size[1], wide / size[0], cell * height / size[1]))
            axes.imshow(values[None].numpy(), aspect="auto", vmin=low, vmax=high, interpolation="nearest")
            bare(axes)
            continue
        for place in range(min(len(values), MOST_MAPS)):
            x = left + cell * place
            axes = figure.add_axes((x / size[0], y / size[1], cell * 0.94 / size[0], cell * 0.94 / size[1]))
            axes.imshow(values[place].numpy(), vmin=low, vmax=high, interpolation="nearest")
            bare(axes)
    return figure


def layer_figure(images: Tensor, values: Tensor, name: str) -> Figure:
    """A row per image with up to 16 maps (B, D, h, w) of one layer, or its numbers (B, D) as strips; a single one is
    written."""
    columns = 1 + (min(MOST_MAPS, values.shape[1]) if values.ndim == 4 else 8)
    cell, head = 0.8, 0.75
    size = (cell * max(columns, 6) + 0.3, cell * len(images) + head + 0.1)
    figure = Figure(figsize=size)
    shape = f"{values.shape[1]} @ {values.shape[2]}x{values.shape[3]}" if values.ndim == 4 else f"{values.shape[1]}"
    figure.text(0.15 / size[0], 1 - 0.28 / size[1], f"{name}: {shape}", fontsize=11, weight="bold", va="center")
    note = "dark: least, light: most, each image on its own scale; left: the input"
    figure.text(0.15 / size[0], 1 - 0.52 / size[1], note, fontsize=8, va="center", color=GREY)
    for row, (image, own) in enumerate(zip(images, values.detach().float().cpu(), strict=True)):
        y, low, high = size[1] - head - cell * (row + 1), min(0.0, float(own.min())), float(own.max())
        wide, tall = cell * 0.94 / size[0], cell * 0.94 / size[1]
        show(figure.add_axes((0.15 / size[0], y / size[1], wide, tall)), image)
        if own.shape == (1,):
            x, middle = (0.2 + cell) / size[0], y / size[1] + tall / 2
            figure.text(x, middle, f"{float(own):.3g}", fontsize=9, va="center")
            continue
        if own.ndim == 1:
            axes = figure.add_axes(((0.15 + cell) / size[0], y / size[1], wide * 8.4, tall))
            axes.imshow(own[None].numpy(), aspect="auto", vmin=low, vmax=high, interpolation="nearest")
            bare(axes)
            continue
        for place in range(min(len(own), MOST_MAPS)):
            axes = figure.add_axes(((0.15 + cell * (place + 1)) / size[0], y / size[1], wide, tall))
            axes.imshow(own[place].numpy(), vmin=low, vmax=high, interpolation="nearest")
            bare(axes)
    return figure


def filter_figure(kernels: dict[str, Tensor], convolutional: bool = True) -> Figure:
    """The kernels of up to 4 layers, a tile each: of its first input channel, or of a layer's all inputs, in colours
    where it reads three. Orange is positive, purple negative, white 0; each layer has its own scale."""
    chosen = list(kernels.items())[:MOST_FILTERS]
    heads = [f"{name}: {_many(values)}" for name, values in chosen]
    grids = [_mosaic(values) for _, values in chosen]
    wide = 9.0
    heights = [max(0.5, wide * grid.shape[0] / grid.shape[1]) for grid in grids]
    heights = [min(height, 5.0) for height in heights]
    size = (wide + 0.3, sum(heights) + 0.45 * len(grids) + 0.75)
    figure = Figure(figsize=size)
    left_out = len(kernels) - len(chosen)
    title = "filters" if convolutional else "weights of the first layer, as images"
    title += f"; {left_out} more layers are in arrays.npz" if left_out else ""
    figure.text(0.15 / size[0], 1 - 0.25 / size[1], title, fontsize=11, weight="bold", va="center")
    note = "orange: positive, purple: negative, white: 0; each layer on its own scale"
    figure.text(0.15 / size[0], 1 - 0.48 / size[1], note, fontsize=8, va="center", color=GREY)
    y = size[1] - 0.65
    for head, grid, height in zip(heads, grids, heights, strict=True):
        figure.text(0.15 / size[0], (y - 0.14) / size[1], head, fontsize=8.5, va="center")
        y -= 0.28 + height
        axes = figure.add_axes((0.15 / size[0], y / size[1], wide / size[0], height / size[1]))
        _paint(axes, grid)
        y -= 0.17
    return figure


def _many(values: Tensor) -> str:
    made, read, high, wide = values.shape
    text = f"{made} kernels of {high}x{wide}" + (f", each for {read} inputs" if read > 1 else "")
    shown = min(made, MOST_KERNELS) if read == 1 else min(made, 16)
    if read > 1:
        text += "; a row per input" + (f", the first {MOST_INPUTS}" if read > MOST_INPUTS + 2 else "")
    return text + (f"; the first {shown} kernels" if shown < made else "")


def _mosaic(values: Tensor) -> np.ndarray:
    """Kernels side by side with gaps of NaN: of one input, in rows of up to 16; of more, a row per input."""
    made, read, high, wide = values.shape
    tiles = values.detach().float().cpu()
    if read == 1:
        columns = min(16, made) if made < 32 or made % 16 == 0 else 16
        tiles = tiles[:MOST_KERNELS, 0]
        rows = math.ceil(len(tiles) / columns)
    else:
        tiles = tiles[:16, : read if read <= MOST_INPUTS + 2 else MOST_INPUTS].transpose(0, 1)
        rows, columns = tiles.shape[:2]
        tiles = tiles.flatten(0, 1)
    gap = max(1, round(0.12 * wide)) if wide > 7 else 1
    grid = torch.full((rows * (high + gap) - gap, max(columns, 6) * (wide + gap) - gap), math.nan)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        top, left = row * (high + gap), column * (wide + gap)
        grid[top : top + high, left : left + wide] = tile
    return grid.numpy()


def _paint(axes: Axes, grid: np.ndarray) -> None:
    top = float(np.nanquantile(np.abs(grid), 0.995)) or 1.0
    axes.imshow(grid, cmap="PuOr_r", vmin=-top, vmax=top, interpolation="nearest", aspect="equal")
    axes.set_anchor("NW")
    axes.set_axis_off()


def class_image_figure(images: Tensor, names: list[str], notes: list[str], title: str) -> Figure:
    """The image (T, C, H, W) that excites each answer most, with what the network says to it."""
    columns = min(5 if len(images) <= 10 else 8, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(max(1.5 * columns + 0.3, 4.5), 1.85 * rows + 0.7), layout="constrained")
    figure.suptitle(title, fontsize=11, weight="bold")
    for place, (image, name, note) in enumerate(zip(images, names, notes, strict=True)):
        axes = figure.add_subplot(rows, columns, place + 1)
        show(axes, image)
        axes.set_title(name, fontsize=10, pad=3)
        axes.set_xlabel(note, fontsize=8, labelpad=2)
    return figure
