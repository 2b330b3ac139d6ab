"""What figures and terminal tables share: palette, axes, columns of text. Imports no matplotlib."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RIGHT, WRONG, QUIET = "#1b7f5c", "#c2402f", "#8a8f98"
FRAME = "#c9ccd1"


def frame_image(axes: "Axes") -> None:
    """Leave an image's axes without ticks, in a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(FRAME)
    axes.spines[:].set_linewidth(0.6)


def open_axes(axes: "Axes", label_size: float | None = None) -> None:
    """Leave a chart's axes without the frame's top and right side."""
    axes.spines[["top", "right"]].set_visible(False)
    if label_size is not None:
        axes.tick_params(labelsize=label_size)


def text_table(rows: Sequence[Sequence[str]], right: Collection[int] = (), gap: str = "  ", indent: str = "") -> str:
    """Rows of cells as lines whose columns are aligned: to the left, or to the right where `right` has their number.

    Rows may have fewer cells than others; lines end without blanks.
    """
    columns = max(map(len, rows), default=0)
    widths = [max((len(row[column]) for row in rows if column < len(row)), default=0) for column in range(columns)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append((indent + gap.join(cells)).rstrip())
    return "\n".join(lines)
