"""Shared by figures and terminal tables: palette, axes, aligned text. Does not import matplotlib."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from src.errors import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RIGHT, WRONG, QUIET = "#1b7f5c", "#c2402f", "#8a8f98"
FRAME = "#c9ccd1"
LONGEST_CELL = 200  # characters of a table on the terminal


def frame_image(axes: "Axes") -> None:
    """Remove the ticks of an image and draw a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(FRAME)
    axes.spines[:].set_linewidth(0.6)


def open_axes(axes: "Axes", label_size: float | None = None) -> None:
    """Hide the top and right spines of a chart."""
    axes.spines[["top", "right"]].set_visible(False)
    if label_size is not None:
        axes.tick_params(labelsize=label_size)


def text_table(rows: Sequence[Sequence[str]], right: Collection[int] = (), gap: str = "  ", indent: str = "") -> str:
    """Rows of cells as lines with aligned columns; `right` holds the indices of the right-aligned ones.

    Rows may differ in length; lines have no trailing blanks. Control characters in a cell are escaped.
    """
    rows = [[printable(cell, LONGEST_CELL) for cell in row] for row in rows]
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
