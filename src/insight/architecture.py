"""Draw a network's architecture: its blocks from left to right, sized by their outputs."""

import math
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from src.insight.summary import Layer, Summary, abbreviate, condense, format_shape
from src.plotting import label

MAPS, POOLED, TOKENS, VECTORS, INPUT = "#3b6ea5", "#8fb3d9", "#5a7d6c", "#b07c2c", "#6b6f76"
MAX_BLOCKS = 11  # side by side; layers of a longer network are condensed
TALLEST, MIN_COLUMN, SHEET_OFFSET = 1.9, 1.32, 0.055  # inches: the largest map, a block's column, sheet to sheet


@dataclass
class DiagramBlock:
    """A layer with the layers after it that keep its shape, or condensed layers, drawn as one."""

    layer: Layer
    followed_by: list[str] = field(default_factory=list)


def diagram_blocks(summary: Summary) -> list[DiagramBlock]:
    """The input and the layers that compute or change the shape; condensed if there are more than MAX_BLOCKS."""
    blocks = [DiagramBlock(Layer("", "input", tuple(summary.shape)))]
    for layer in summary.layers:
        same_shape = layer.output == blocks[-1].layer.output and layer.multiply_adds == 0
        if same_shape or layer.kind == "Flatten":
            if layer.kind not in ("Flatten", "Identity", "Dropout"):
                blocks[-1].followed_by.append(layer.kind)
            blocks[-1].layer.parameters += layer.parameters if same_shape else 0
        else:
            blocks.append(DiagramBlock(Layer(**vars(layer))))
    return blocks if len(blocks) <= MAX_BLOCKS else [blocks[0], *map(DiagramBlock, condense(summary))]


def architecture_figure(summary: Summary) -> Figure:
    """Feature maps as stacks of sheets, whose sides grow with the square root of their size; tokens as striped blocks;
    vectors as bars, which grow with the logarithm."""
    blocks = diagram_blocks(summary)
    largest_side = max(max(block.layer.output[1:]) for block in blocks if len(block.layer.output) == 3)
    most_values = max(math.prod(block.layer.output) for block in blocks if len(block.layer.output) < 3)
    sizes = [_block_size(block.layer.output, largest_side, most_values) for block in blocks]
    columns = [max(MIN_COLUMN, width + 0.35) for width, _ in sizes]
    lines = max(len(_lines(block)) for block in blocks)
    width, below = max(sum(columns) + 0.2, 6.5), 0.5 + 0.155 * lines
    figure = Figure(figsize=(width, TALLEST + 0.85 + below))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-0.1, width - 0.1)
    axes.set_ylim(-below, TALLEST + 0.85)
    axes.set_axis_off()
    title = f"{label(summary.model)}, input {'x'.join(map(str, summary.shape))} (channels, height, width)"
    axes.text(0, TALLEST + 0.62, title, fontsize=12, weight="bold", va="center")
    totals = f"{summary.parameters:,} parameters; per image {abbreviate(summary.multiply_adds)} multiply-adds and "
    totals += f"{summary.memory / 1024:,.0f} KiB of activations"
    axes.text(0, TALLEST + 0.4, totals, fontsize=9, va="center")
    x, previous_end = 0.0, None
    for block, (width, height), column in zip(blocks, sizes, columns, strict=True):
        left, bottom = x + (column - width) / 2, (TALLEST - height) / 2
        if previous_end is not None:
            style = {"arrowstyle": "-|>", "color": INPUT, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (left - 0.04, TALLEST / 2), (previous_end + 0.04, TALLEST / 2), arrowprops=style)
        _draw(axes, block, left, bottom, width, height)
        middle, text = x + column / 2, "\n".join(_lines(block))
        axes.text(middle, -0.12, format_shape(block.layer.output), ha="center", va="top", fontsize=9.5, weight="bold")
        axes.text(middle, -0.34, text, ha="center", va="top", fontsize=7.5, linespacing=1.35)
        x, previous_end = x + column, left + width
    return figure


def _block_size(shape: tuple[int, ...], largest_side: int, most_values: int) -> tuple[float, float]:
    if len(shape) == 3:
        stack = SHEET_OFFSET * (_sheets(shape[0]) - 1)
        height, width = (max(0.1, (TALLEST - 0.25) * math.sqrt(side / largest_side) * 0.75) for side in shape[1:])
        return width + stack, min(TALLEST, height + stack)
    if len(shape) == 2:
        return 0.9, 1.2
    return 0.16, max(0.3, TALLEST * math.log(1 + shape[0]) / math.log(1 + most_values))


def _sheets(channels: int) -> int:
    return min(channels, 3 + round(math.log2(channels)))


def _draw(axes: Axes, block: DiagramBlock, left: float, bottom: float, width: float, height: float) -> None:
    layer = block.layer
    if len(layer.output) == 3:
        count = _sheets(layer.output[0])
        stack = SHEET_OFFSET * (count - 1)
        color = INPUT if layer.kind == "input" else POOLED if "Pool" in layer.kind else MAPS
        for sheet in range(count):
            corner = (left + stack - SHEET_OFFSET * sheet, bottom + stack - SHEET_OFFSET * sheet)
            axes.add_patch(
                Rectangle(corner, width - stack, height - stack, facecolor=color, edgecolor="white", linewidth=0.8)
            )
    elif len(layer.output) == 2:
        for stripe in range(8):
            corner = (left, bottom + stripe * height / 8)
            axes.add_patch(Rectangle(corner, width, height / 8, facecolor=TOKENS, edgecolor="white", linewidth=0.8))
    else:
        axes.add_patch(Rectangle((left, bottom), width, height, facecolor=VECTORS, edgecolor="white"))


def _lines(block: DiagramBlock) -> list[str]:
    layer = block.layer
    lines = [label(layer.kind), *(f"+ {label(kind)}" for kind in block.followed_by)]
    if layer.parameters:
        lines.append(f"{layer.parameters:,} param.")
    if layer.multiply_adds:
        lines.append(f"{abbreviate(layer.multiply_adds)} mult-adds")
    return lines
