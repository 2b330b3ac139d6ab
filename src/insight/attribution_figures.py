"""Pictures of single decisions: what each method says about them, and which training images are nearest."""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from torch import Tensor

from src.plotting import QUIET, RIGHT, WRONG

NAMES = {
    "saliency": "saliency",
    "integrated_gradients": "integrated\ngradients",
    "smooth_grad": "SmoothGrad",
    "grad_cam": "Grad-CAM",
    "occlusion": "occlusion",
}
SIGNED, UNSIGNED = "PuOr_r", "viridis"  # orange raises, purple lowers; filters, grids and notebooks have it so too
ONE_SIDED = ("saliency", "grad_cam")
WIDEST = 17  # characters of 6.5 points beside each other under an image of an inch


@dataclass
class Case:
    """One image and what is written beside it.

    name: where it comes from; says, truth: the network's answer and the true one as text, truth empty where it is not
    known; right: whether they agree, None where that cannot be said; about: which answer the maps explain.
    """

    name: str
    says: str
    truth: str = ""
    right: bool | None = None
    about: str = ""


def attribution_figure(images: Tensor, cases: list[Case], maps: dict[str, Tensor], notes: list[str]) -> Figure:
    """A row per image: what the network reads, then the map of each method; two images beside each other if many.

    images: grey levels (B, C, H, W); maps: (B, C or 1, H, W) by method. Channels are summed. The outline of the ink is
    drawn on each map, or the image shines through where it has no dark ground. notes: written at the foot.
    """
    count, columns = len(images), len(maps) + 1
    sides = 2 if count > 6 else 1
    rows = -(-count // sides)
    wide = (_text_width(cases), *[1.0] * columns, *([0.15] if sides == 2 else []))[: columns + 1 + (sides == 2)] * sides
    per_side = len(wide) // sides
    cell, head, end = 1.08, 0.62, 1.08 * sum(wide) + 0.1
    note = ";  ".join(notes) if sides == 2 else "\n".join(notes)
    foot = 0.72 + 0.14 * (note.count("\n") + 1)
    size = (max(end + 0.1, 5.2), cell * rows + head + foot)
    figure = Figure(figsize=size)
    grid = GridSpec(
        rows, len(wide), figure, width_ratios=wide, wspace=0.06, hspace=0.06,
        left=0.1 / size[0], right=end / size[0], top=1 - head / size[1], bottom=foot / size[1],
    )  # fmt: skip
    for index in range(count):
        side, row = divmod(index, rows)
        _write(figure.add_subplot(grid[row, side * per_side]), cases[index])
        axes = figure.add_subplot(grid[row, side * per_side + 1])
        show(axes, images[index])
        if row == 0:
            axes.set_title("input", fontsize=9)
        for place, (method, values) in enumerate(maps.items()):
            axes = figure.add_subplot(grid[row, side * per_side + 2 + place])
            overlay(axes, images[index], values[index].sum(0), signed=method not in ONE_SIDED)
            if row == 0:
                axes.set_title(NAMES[method], fontsize=9)
    _scales(figure, size, foot - 0.24, list(maps))
    figure.text(0.12 / size[0], 0.1 / size[1], note, fontsize=7.5, va="bottom", color="#40444b")
    return figure


def _scales(figure: Figure, size: tuple[float, float], bottom: float, methods: list[str]) -> None:
    """The colour scales that the methods need, `bottom` inches above the figure's edge."""
    height = 0.09 / size[1]
    left = 0.12 / size[0]
    shown = [
        (SIGNED, 1.7, "lowers the answer", "raises it", any(method not in ONE_SIDED for method in methods)),
        (UNSIGNED, 1.0, "none", "most", any(method in ONE_SIDED for method in methods)),
    ]
    for colours, wide, low, high, wanted in shown:
        if not wanted:
            continue
        axes = figure.add_axes((left, bottom / size[1], wide / size[0], height))
        axes.imshow(np.linspace(0, 1, 64)[None], aspect="auto", cmap=colours)
        axes.set_xticks([0, 63], [low, high], fontsize=7)
        axes.tick_params(length=0, pad=1)
        axes.get_xticklabels()[0].set_ha("left")
        axes.get_xticklabels()[1].set_ha("right")
        axes.set_yticks([])
        left += (wide + 0.25) / size[0]


def _text_width(cases: list[Case]) -> float:
    """Of the column that `_write` writes in, in columns of about an inch."""
    return max(1.25, *(0.085 * (len(case.says) + 3) for case in cases), *(0.068 * len(case.name) for case in cases))


def _write(axes: Axes, case: Case) -> None:
    axes.set_axis_off()
    colour = QUIET if case.right is None else RIGHT if case.right else WRONG
    mark = "" if case.right is None else "✓ " if case.right else "✗ "
    lines = [(case.name, "#40444b", 7.5), (f"{mark}{case.says}", colour if case.right is not None else "black", 9.5)]
    if case.truth:
        lines.append((case.truth, "black", 8))
    if case.about:
        lines.append((case.about, "#40444b", 7.5))
    for place, (text, tint, size) in enumerate(lines):
        height = 0.5 + 0.21 * ((len(lines) - 1) / 2 - place)
        axes.text(0.97, height, text, color=tint, fontsize=size, ha="right", va="center", transform=axes.transAxes)


def show(axes: Axes, image: Tensor) -> None:
    """An image of grey levels 0..255, (1 or 3, H, W), without ticks."""
    picture = image.detach().float().cpu().clamp(0, 255) / 255
    if len(picture) == 3:
        axes.imshow(picture.permute(1, 2, 0).numpy(), interpolation="nearest")
    else:
        axes.imshow(picture[0].numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    bare(axes)


def bare(axes: Axes) -> None:
    """No ticks; a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("#c9ccd1")
    axes.spines[:].set_linewidth(0.6)


def overlay(axes: Axes, image: Tensor, values: Tensor, signed: bool) -> None:
    """One map (H, W) in colours, on its own scale to its 99.5th percentile, with the image's outline."""
    grid, grey = values.detach().float().cpu(), image.detach().float().mean(0).cpu()
    top = float(torch.quantile(grid.abs().flatten(), 0.995)) or float(grid.abs().max()) or 1.0
    shares = (grid / top).clamp(-1, 1).numpy()
    coloured = colormaps[SIGNED]((shares + 1) / 2) if signed else colormaps[UNSIGNED](shares)
    inked = float(grey.median()) < 32 < float(grey.max())
    if not inked:  # no dark ground to draw an outline on
        coloured[..., :3] *= 0.45 + 0.55 * (grey / 255).clamp(0, 1).numpy()[..., None]
    axes.imshow(coloured, interpolation="nearest")
    if inked:
        colour = "#2b2d31" if signed else "white"
        axes.contour(grey.numpy(), levels=[float(grey.max()) / 2], colors=colour, linewidths=0.6, alpha=0.8)
    bare(axes)


def _caption(label: str, distance: float) -> str:
    """Both in the width of one small image, the label cut short where it must be."""
    far = f"{distance:.{1 if distance >= 1 else 2}f}"
    between, most = ("  ·  ", WIDEST) if len(label) + len(far) <= 9 else (" · ", WIDEST - len(far) - 3)
    return (label if len(label) <= most else f"{label[: most - 1]}…") + between + far


def neighbour_figure(
    images: Tensor,
    cases: list[Case],
    near: Tensor,
    labels: list[list[str]],
    apart: Tensor,
    searched: str,
    places: list[list[int]] | None = None,
) -> Figure:
    """A row per image: the image, then the nearest training images (B, K, C, H, W) with label and distance (B, K), and
    with the row of their file that `places` says."""
    count, columns = len(images), near.shape[1] + 1
    sides = 2 if count > 6 else 1
    rows = -(-count // sides)
    wide = [_text_width(cases) + 0.05, 1.0, 0.12, *[1.0] * (columns - 1), 0.15] * sides
    cell, tall, head, foot = 1.0, 1.34 if places else 1.22, 0.35, 0.62 if places else 0.45
    size = (cell * sum(wide) + 0.2, max(tall * rows + head + foot, 2.2))
    figure = Figure(figsize=size)
    grid = GridSpec(
        rows, len(wide), figure, width_ratios=wide, wspace=0.08, hspace=0.38 if places else 0.3,
        left=0.1 / size[0], right=1 - 0.1 / size[0], top=1 - head / size[1], bottom=foot / size[1],
    )  # fmt: skip
    captions = [list(map(_caption, *both)) for both in zip(labels, apart.tolist(), strict=True)]
    size_pt = 7.5 if max(len(text) for some in captions for text in some) <= 14 else 6.5
    for index in range(count):
        side, row = divmod(index, rows)
        start = side * (columns + 3)
        _write(figure.add_subplot(grid[row, start]), cases[index])
        axes = figure.add_subplot(grid[row, start + 1])
        show(axes, images[index])
        axes.set_title("input" if row == 0 else "", fontsize=9)
        for place in range(near.shape[1]):
            axes = figure.add_subplot(grid[row, start + 3 + place])
            show(axes, near[index, place])
            text = captions[index][place]
            text += f"\nrow {places[index][place]}" if places else ""
            axes.set_xlabel(text, fontsize=size_pt, labelpad=2)
            axes.set_title(("nearest" if place == 0 else f"{place + 1}.") if row == 0 else "", fontsize=9)
    figure.text(0.12 / size[0], 0.16 / size[1], searched, fontsize=7.5, va="center", color="#40444b")
    return figure
