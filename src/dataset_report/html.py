"""A report as one HTML file that needs no other file."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from src.dataset_report.context import Section

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_html(
    title: str, about: str, sections: Mapping[str, Section], images: Mapping[str, bytes], notes: Sequence[str] = ()
) -> str:
    """The whole page: every text is escaped, every figure embedded.

    sections: by their key, which is their anchor. images: figure's name -> PNG.
    """
    return TEMPLATES.get_template("report.html.j2").render(
        title=title,
        about=about,
        sections=sections,
        notes=notes,
        images={name: base64.b64encode(png).decode() for name, png in images.items()},
    )
