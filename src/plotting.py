"""Shared by figures and terminal tables: palette, axes, texts of users, aligned text.

matplotlib is imported where a figure is drawn, and not by tables.
"""

import logging
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING
from unicodedata import category, east_asian_width, normalize

from src.errors import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.font_manager import FontEntry

RIGHT, WRONG, QUIET = "#1b7f5c", "#c2402f", "#8a8f98"
FRAME = "#c9ccd1"
LONGEST_CELL = 200  # characters of a table on the terminal
LONGEST_LABEL = 40  # columns of a text in a figure
MANY_CLASSES = 20  # beyond so many, figures and tables show the worst classes and pairs instead of all
FILLERS = ("lastresort", "last resort", "adobe blank", "bmp fallback")  # fonts whose glyphs are boxes
FONT_ADVICE = "install a font that has them (Debian: apt-get install fonts-noto-cjk fonts-noto-core) and draw again"

RTL = "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]+"  # letters of Hebrew, Arabic and their relatives
RTL_WORDS = re.compile(rf"{RTL}(?:\s+{RTL})*")
LEFT_TO_RIGHT = "\u200e"  # a mark without ink

log = logging.getLogger(__name__)
_reported: list[str] = []  # what no font has is said once


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


def display_width(text: str) -> int:
    """Columns of a terminal that a text takes: two for a wide character (Chinese, emoji), none for a combining mark."""
    return sum(0 if category(c) in ("Mn", "Me") else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def label(text: object, most: int = LONGEST_LABEL) -> str:
    """A text of a user, such as a file's name or a swept value, for matplotlib: on one line, never read as a formula.

    Control characters and bytes that are not UTF-8 are escaped; of a text wider than `most` columns the middle is left
    out. Installed fonts that have its characters are found by their glyphs; a character that no font has becomes "?".
    To be called before the figure is made: matplotlib's texts, ticks among them, take their fonts when they are made.
    Arabic letters are joined and Hebrew runs from right to left from matplotlib 3.11 on; before, letters stand alone,
    from left to right.
    """
    return _keep_order(_escape_formula(plain_label(text, most)))


def plain_label(text: object, most: int = LONGEST_LABEL) -> str:
    """The same for Pillow, which knows no formulas; `font_file` has its characters."""
    line = _on_one_line(text, most)
    missing = _undrawable(line)
    return "".join("?" if c in missing else c for c in line)


def class_labels(names: Sequence[str], most: int = 24, formulas: bool = True, first: int = 0) -> list[str]:
    """The class names for a figure, as `label` makes them, and different where the names are.

    A name with characters that no font has becomes its number, #3, and what can be shown of it; so does a name that its
    shortened form does not tell from another. formulas: escape what matplotlib would read as one; false for Pillow,
    which draws a name in one font, `font_file`. first: the number of the first name.
    """
    lines = [_on_one_line(name, most) for name in names]
    missing = _undrawable("".join(lines))
    labels = []
    for index, line in enumerate(lines, first):
        known = None if formulas or line.isascii() else _glyphs(font_file(line))
        rest = "".join(c for c in line if c not in missing and (known is None or c in known)).strip()
        if rest != line or lines.count(line) > 1:
            number = f"#{index}"
            room = most - len(number) - 1  # a number is never shortened
            rest = f"{number} {_shorten(rest, room)}" if room > 3 and any(map(str.isalnum, rest)) else number
        labels.append(_keep_order(_escape_formula(rest) if formulas else rest))
    return labels


def font_file(text: str) -> str:
    """The font that has most characters of a text: matplotlib's own, unless another has more."""
    from matplotlib import rcParams

    _undrawable(text)
    best = max(rcParams["font.family"], key=lambda family: sum(c in _family_glyphs(family) for c in set(text)))
    return _family_files(best)[0]


def _on_one_line(text: object, most: int) -> str:
    return _shorten(printable(normalize("NFC", str(text))), most)


def _shorten(line: str, most: int) -> str:
    """A line of at most `most` columns: of a wider one the middle is left out."""
    if display_width(line) <= most:
        return line
    start = end = ""
    for first, last in zip(line, reversed(line), strict=True):
        if display_width(start + first + end) >= most:
            break
        start += first
        if display_width(start + last + end) >= most:
            break
        end = last + end
    return f"{start}…{end}"


def _escape_formula(line: str) -> str:
    return line.replace("$", r"\$")


def _keep_order(line: str) -> str:
    """Let what stands beside words from right to left, such as a number, stay on its side of them."""
    return RTL_WORDS.sub(lambda words: f"{LEFT_TO_RIGHT}{words[0]}{LEFT_TO_RIGHT}", line)


def _undrawable(text: str) -> frozenset[str]:
    """The characters of a text that no installed font has; fonts that have the others join matplotlib's families."""
    beyond = frozenset(c for c in text if not c.isascii())
    return _without_font(beyond) if beyond else beyond


@cache
def _without_font(characters: frozenset[str]) -> frozenset[str]:
    from matplotlib import rcParams

    missing = characters.difference(*map(_family_glyphs, rcParams["font.family"]))
    fonts = _installed_fonts() if missing else []
    while missing and fonts:
        best = max(fonts, key=lambda font: len(missing & _glyphs(font.fname)))
        if not missing & _glyphs(best.fname):
            break
        missing -= _glyphs(best.fname)
        rcParams["font.family"] = [*rcParams["font.family"], _add_family(best)]
    if missing and not _reported:
        _reported.append("".join(sorted(missing)[:20]))
        lacking = "no installed font has the characters %s: figures show ? or the number of a class; %s"
        log.warning(lacking, _reported[0], FONT_ADVICE)
    return missing


def _installed_fonts() -> list["FontEntry"]:
    """Upright fonts by preference: sans-serif ones, those of fixed width, the others."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    listed = {font.fname for font in fontManager.ttflist}
    for file in sorted(set(findSystemFonts()) - listed):  # installed since matplotlib made its list
        with suppress(OSError, RuntimeError, ValueError):  # damaged, or of fixed size
            fontManager.addfont(file)
    fonts = [
        font
        for font in fontManager.ttflist
        if font.style == "normal" and not any(filler in font.name.lower() for filler in FILLERS)
    ]
    return sorted(fonts, key=lambda one: ("Serif" in one.name, "Sans" not in one.name, "Mono" in one.name, one.name))


def _add_family(font: "FontEntry") -> str:
    """Make a font a family that has its weights: matplotlib logs a line for each weight that it does not find."""
    from matplotlib.font_manager import fontManager

    family = f"{font.name} (all weights)"
    fontManager.ttflist += [replace(font, name=family, weight=weight) for weight in (400, 700)]
    return family


@cache
def _family_files(family: str) -> tuple[str, ...]:
    """The files of a family, upright and bold."""
    from matplotlib.font_manager import FontProperties, findfont

    return tuple(str(findfont(FontProperties(family=[family], weight=weight))) for weight in ("normal", "bold"))


def _family_glyphs(family: str) -> frozenset[str]:
    """The characters that a family has, upright and bold."""
    return frozenset.intersection(*map(_glyphs, _family_files(family)))


@cache
def _glyphs(file: str) -> frozenset[str]:
    """The characters that a font has; none of a damaged one."""
    from matplotlib.font_manager import get_font

    with suppress(OSError, RuntimeError):
        return frozenset(map(chr, get_font(file).get_charmap()))
    return frozenset()


def text_table(rows: Sequence[Sequence[str]], right: Collection[int] = (), gap: str = "  ", indent: str = "") -> str:
    """Rows of cells as lines with aligned columns; `right` holds the indices of the right-aligned ones.

    Rows may differ in length; lines have no trailing blanks. Control characters in a cell are escaped.
    """
    rows = [[printable(cell, LONGEST_CELL) for cell in row] for row in rows]
    columns = max(map(len, rows), default=0)
    widths = [max((display_width(row[i]) for row in rows if i < len(row)), default=0) for i in range(columns)]
    lines = []
    for row in rows:
        blanks = [" " * (width - display_width(cell)) for cell, width in zip(row, widths, strict=False)]
        cells = [blank + row[i] if i in right else row[i] + blank for i, blank in enumerate(blanks)]
        lines.append((indent + gap.join(cells)).rstrip())
    return "\n".join(lines)


def shorten_path(name: str, most: int) -> str:
    """The end of a file's path, on one line, which tells it from others in its folder."""
    line = printable(name)
    return line if len(line) <= most else f"…{line[len(line) - most + 1 :]}"
