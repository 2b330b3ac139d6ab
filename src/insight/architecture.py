"""A network as a picture: what flows through it, from left to right."""

import math
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from src.insight.summary import Layer, Summary, condensed, short, show_shape

MAPS, POOLED, TOKENS, NUMBERS, INPUT = "#3b6ea5", "#8fb3d9", "#5a7d6c", "#b07c2c", "#6b6f76"
MOST = 11  # blocks beside each other; a longer network is drawn by sizes in space
TALLEST, COLUMN, SHEET = 1.9, 1.32, 0.055  # inches: the largest map, a block's least width, from sheet to sheet


@dataclass
class DiagramBlock:
    """What is drawn as one thing: a layer, the layers after it that leave the shape as it is, or a whole stage."""

    layer: Layer
    then: list[str] = field(default_factory=list)


def diagram_blocks(summary: Summary) -> list[DiagramBlock]:
    """The input and the layers that compute or change the shape; those of one size together where there are many."""
    found = [DiagramBlock(Layer("", "input", tuple(summary.shape)))]
    for layer in summary.layers:
        same = layer.output == found[-1].layer.output and layer.multiply_adds == 0
        if same or layer.kind == "Flatten":
            if layer.kind not in ("Flatten", "Identity", "Dropout"):
                found[-1].then.append(layer.kind)
            found[-1].layer.parameters += layer.parameters if same else 0
        else:
            found.append(DiagramBlock(Layer(**vars(layer))))
    return found if len(found) <= MOST else [found[0], *(DiagramBlock(layer) for layer in condensed(summary))]


def architecture(summary: Summary) -> Figure:
    """Feature maps as stacks of sheets, tokens as striped ones, numbers as bars; sides grow with the square root."""
    row = diagram_blocks(summary)
    sides = max(max(block.layer.output[1:]) for block in row if len(block.layer.output) == 3)
    widest = max(math.prod(block.layer.output) for block in row if len(block.layer.output) < 3)
    sizes = [_size(block.layer.output, sides, widest) for block in row]
    columns = [max(COLUMN, width + 0.35) for width, _ in sizes]
    lines = max(len(_lines(block)) for block in row)
    width, below = sum(columns) + 0.2, 0.5 + 0.155 * lines
    figure = Figure(figsize=(max(width, 6.5), TALLEST + 0.85 + below))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-0.1, max(width, 6.5) - 0.1)
    axes.set_ylim(-below, TALLEST + 0.85)
    axes.set_axis_off()
    name = f"{summary.model}, {'x'.join(map(str, summary.shape))} in (channels, height, width)"
    axes.text(0, TALLEST + 0.62, name, fontsize=12, weight="bold", va="center")
    totals = f"{summary.parameters:,} parameters, {short(summary.multiply_adds)} multiply-adds and "
    totals += f"{summary.memory / 1024:,.0f} KiB of activations per image"
    axes.text(0, TALLEST + 0.4, totals, fontsize=9, va="center")
    x, end = 0.0, None
    for block, (w, h), column in zip(row, sizes, columns, strict=True):
        left, bottom = x + (column - w) / 2, (TALLEST - h) / 2
        if end is not None:
            style = {"arrowstyle": "-|>", "color": INPUT, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (left - 0.04, TALLEST / 2), (end + 0.04, TALLEST / 2), arrowprops=style)
        _draw(axes, block, left, bottom, w, h)
        _label(axes, block, x + column / 2)
        x, end = x + column, left + w
    return figure


def _size(shape: tuple[int, ...], sides: int, widest: int) -> tuple[float, float]:
    """Width and height of a block, inches."""
    if len(shape) == 3:
        stack = SHEET * (_sheets(shape[0]) - 1)
        largest = TALLEST - 0.25
        high, wide = (max(0.1, largest * math.sqrt(side / sides) * 0.75) for side in shape[1:])
        return wide + stack, min(TALLEST, high + stack)
    if len(shape) == 2:
        return 0.9, 1.2
    return 0.16, max(0.3, TALLEST * math.log(1 + shape[0]) / math.log(1 + widest))


def _sheets(channels: int) -> int:
    return min(channels, 3 + round(math.log2(channels)))


def _draw(axes: Axes, block: DiagramBlock, left: float, bottom: float, width: float, height: float) -> None:
    layer = block.layer
    if len(layer.output) == 3:
        count = _sheets(layer.output[0])
        stack = SHEET * (count - 1)
        colour = INPUT if layer.kind == "input" else POOLED if "Pool" in layer.kind else MAPS
        for sheet in range(count):
            place = (left + stack - SHEET * sheet, bottom + stack - SHEET * sheet)
            axes.add_patch(
                Rectangle(place, width - stack, height - stack, facecolor=colour, edgecolor="white", linewidth=0.8)
            )
    elif len(layer.output) == 2:
        for stripe in range(8):
            place = (left, bottom + stripe * height / 8)
            axes.add_patch(Rectangle(place, width, height / 8, facecolor=TOKENS, edgecolor="white", linewidth=0.8))
    else:
        axes.add_patch(Rectangle((left, bottom), width, height, facecolor=NUMBERS, edgecolor="white"))


def _lines(block: DiagramBlock) -> list[str]:
    layer = block.layer
    lines = [layer.kind, *(f"+ {kind}" for kind in block.then)]
    if layer.parameters:
        lines.append(f"{layer.parameters:,} param.")
    if layer.multiply_adds:
        lines.append(f"{short(layer.multiply_adds)} mult-adds")
    return lines


def _label(axes: Axes, block: DiagramBlock, middle: float) -> None:
    axes.text(middle, -0.12, show_shape(block.layer.output), ha="center", va="top", fontsize=9.5, weight="bold")
    axes.text(middle, -0.34, "\n".join(_lines(block)), ha="center", va="top", fontsize=7.5, linespacing=1.35)
