"""A report on a data set: its chapters one after another, and the files they become."""

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from src.dataset_report import basic_sections, label_section, search_sections
from src.dataset_report.context import ReportContext, ReportFigure, Section
from src.dataset_report.html import page
from src.dataset_report.image_grids import DPI
from src.errors import require
from src.files import write_bytes, write_json

SECTIONS: dict[str, Callable[[ReportContext], Section]] = {
    "counts": basic_sections.counts,
    "examples": basic_sections.examples,
    "averages": basic_sections.averages,
    "pixels": basic_sections.pixels,
    "ink": basic_sections.ink,
    "maps": basic_sections.maps_of,
    "neighbours": search_sections.neighbours,
    "outliers": search_sections.outliers,
    "labels": label_section.labels,
    "augment": basic_sections.augment,
}
HONEST = (
    "Everything here is about the images to train and to validate on. The test split is counted and searched for "
    "copies of training images, nothing else: nobody should choose anything by it."
)
ROWS = (
    "A row (#) is a row of the training file, from 0, those of the validation split included; of a test image, a "
    "row of the test file. Of a folder of pictures it is the place in the sorted list of the split's pictures."
)


def choose_sections(given: str | Sequence[str] | None) -> list[str]:
    """The chapters that are asked for, in the order of the page; None for all.

    Raises InputError for a name that is none, or no name at all.
    """
    names = list(SECTIONS) if given is None else [given] if isinstance(given, str) else [str(name) for name in given]
    strangers = [name for name in names if name not in SECTIONS]
    require(not strangers and bool(names), f"sections={strangers}: some of {', '.join(SECTIONS)}; null for all")
    return [name for name in SECTIONS if name in names]


def write_dataset_report(
    look: ReportContext, names: Sequence[str], folder: Path, about: str, begin: Callable[[str], None]
) -> dict:
    """report.html, report.json and figures/*.png in `folder`; returns what report.json holds.

    about: one line on what was looked at and when. begin: called with each chapter's name before it is written.
    """
    sections, pictures, seconds = {}, {}, {}
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name in names:
        begin(name)
        started = time.perf_counter()
        sections[name] = SECTIONS[name](look)
        for shown in sections[name].shown:
            pictures[shown.name] = _png(shown)
            write_bytes(folder / "figures" / f"{shown.name}.png", pictures[shown.name][0])
            shown.figure.clear()
        seconds[name] = round(time.perf_counter() - started, 1)
    notes = [HONEST, ROWS, *look.collection.notes]
    title = f"The data: {look.collection.name}"
    numbers = {
        "data": look.collection.name, "classes": list(look.names), "seed": look.seed, "notes": notes,
        "looked_at": {"train": len(look.collection.train), "test": len(look.collection.test)},
        **{name: section.numbers for name, section in sections.items()}, "seconds": seconds,
    }  # fmt: skip
    write_json(folder / "report.json", numbers)
    write_bytes(folder / "report.html", page(title, about, sections, pictures, notes).encode())
    return {**numbers, "brief": {k: v for section in sections.values() for k, v in section.brief.items()}}


def _png(shown: ReportFigure) -> tuple[bytes, int]:
    """The picture as PNG, and its width on the page in CSS pixels."""
    buffer = io.BytesIO()
    shown.figure.savefig(buffer, dpi=DPI, facecolor="white")
    return buffer.getvalue(), round(shown.figure.get_figwidth() * 100)
