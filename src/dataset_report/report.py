"""The report on a data set: its sections in order, and the files they become."""

import base64
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from src.dataset_report import augment_section, basic_sections, label_section, map_section, search_sections
from src.dataset_report.context import ReportContext, Section
from src.dataset_report.image_grids import DPI
from src.errors import printable, require
from src.files import write_bytes, write_json, write_text

SECTIONS: dict[str, Callable[[ReportContext], Section]] = {
    "counts": basic_sections.counts_section,
    "examples": basic_sections.examples_section,
    "averages": basic_sections.averages_section,
    "pixels": basic_sections.pixels_section,
    "measures": basic_sections.measures_section,
    "maps": map_section.maps_section,
    "neighbours": search_sections.neighbours_section,
    "outliers": search_sections.outliers_section,
    "labels": label_section.labels_section,
    "augment": augment_section.augment_section,
}
NOTES = (
    "This page describes the training and the validation images. The test images are only counted, and searched for "
    "copies of training images: nobody should choose anything by them.",
    "A row number (#) counts from 0 in the training file, validation images included; for test images, in the test "
    "file. For a folder of pictures it counts in the sorted list of the split's pictures.",
)


def select_sections(names: str | Sequence[str] | None) -> list[str]:
    """The named sections in the order of the page; None for all.

    Raises InputError for unknown names and for none at all.
    """
    chosen = list(SECTIONS) if names is None else [names] if isinstance(names, str) else [str(name) for name in names]
    unknown = [name for name in chosen if name not in SECTIONS]
    require(not unknown and bool(chosen), f"sections={unknown}: some of {', '.join(SECTIONS)}; null for all")
    return [name for name in SECTIONS if name in chosen]


def write_dataset_report(
    context: ReportContext, names: Sequence[str], folder: Path, about: str, on_section: Callable[[str], None]
) -> tuple[dict, dict[str, str]]:
    """Write report.html, report.json and figures/*.png into `folder`; return what report.json holds, and the summary.

    about: one line below the title. on_section: called with each section's name before it is computed.
    """
    sections, images, seconds = {}, {}, {}
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name in names:
        on_section(name)
        started = time.perf_counter()
        sections[name] = SECTIONS[name](context)
        for figure in sections[name].figures:
            buffer = io.BytesIO()
            figure.figure.savefig(buffer, dpi=DPI, facecolor="white")
            images[figure.name] = buffer.getvalue()
            write_bytes(folder / "figures" / f"{figure.name}.png", images[figure.name])
            figure.figure.clear()
        seconds[name] = round(time.perf_counter() - started, 1)
    data, notes = context.data, [*NOTES, *context.data.notes]
    numbers = {
        "data": data.name,
        "classes": list(data.class_names),
        "seed": context.seed,
        "notes": notes,
        "looked_at": {"train": len(data.train), "test": len(data.test)},
        **{name: section.numbers for name, section in sections.items()},
        "seconds": seconds,
    }
    write_json(folder / "report.json", numbers)
    write_text(folder / "report.html", render_html(f"The data: {data.name}", about, sections, images, notes))
    return numbers, {key: text for section in sections.values() for key, text in section.summary.items()}


def render_html(
    title: str, about: str, sections: Mapping[str, Section], images: Mapping[str, bytes], notes: Sequence[str]
) -> str:
    """The whole page as one file: every text is escaped, every figure embedded.

    sections: by their key, which is their anchor. images: figure's name -> PNG.
    """
    folder = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(
        loader=folder,
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,  # names of bytes, control characters
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    embedded = {name: Markup(base64.b64encode(png).decode()) for name, png in images.items()}
    template = environment.get_template("report.html.j2")
    return template.render(title=title, about=about, sections=sections, notes=notes, images=embedded)
