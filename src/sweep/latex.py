"""The table of configurations for LaTeX: table.tex, a tabular that needs no package."""

from collections.abc import Sequence
from unicodedata import normalize

from src.errors import printable

SPECIAL = {
    **{char: f"\\{char}" for char in "_%&#${}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "–": "--", "—": "---",
    "…": r"\ldots{}", "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}",
    "Œ": r"\OE{}", "ł": r"\l{}", "Ł": r"\L{}", "°": r"$^\circ$", "µ": r"$\mu$", "×": r"$\times$", "²": "$^2$",
}  # fmt: skip
ACCENTS = dict(
    zip("\u0300\u0301\u0302\u0303\u0304\u0307\u0308\u030a\u030b\u030c\u0327\u0328", "`'^~=.\"rHvck", strict=True)
)


def latex_escape(text: str) -> str:
    """A text as LaTeX sets it, in ASCII; letters of other scripts stay as they are."""
    return "".join(_escape_letter(char) for char in printable(text))


def _escape_letter(char: str) -> str:
    if char in SPECIAL:
        return SPECIAL[char]
    base, *marks = normalize("NFD", char)
    if not marks or not base.isascii() or any(mark not in ACCENTS for mark in marks):
        return char
    for mark in marks:
        base = f"\\{ACCENTS[mark]}{{{base}}}"
    return base


def latex_table(rows: Sequence[Sequence[str]], texts: int, caption: str) -> str:
    """A header and rows as a tabular. texts: columns aligned to the left; the others are numbers. caption: a comment.

    A unit that all cells of a column of numbers end with stands in its head.
    """
    head, *body = [list(row) for row in rows]
    for column in range(texts, len(head)):
        cells = [row[column] for row in body if row[column][:1].isdigit()]
        if cells and all(cell.endswith(" %") for cell in cells):
            head[column] += " (%)"
            for row in body:
                row[column] = row[column].removesuffix(" %")
    lines = [" & ".join(map(latex_escape, row)) + r" \\" for row in (head, *body)]
    columns = "l" * texts + "r" * (len(head) - texts)
    table = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\hline",
        lines[0],
        r"\hline",
        *lines[1:],
        r"\hline",
        r"\end{tabular}",
    ]
    text = "\n".join([f"% {printable(caption)}", *table]) + "\n"
    return text if text.isascii() else f"% It has letters that pdflatex lacks: use lualatex or xelatex.\n{text}"
