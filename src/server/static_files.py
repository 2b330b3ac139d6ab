"""The page and the documentation of the API, held in memory: requests never open a file."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader

HERE = Path(__file__).resolve().parent
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}


def read_static_files() -> dict[str, tuple[bytes, str]]:
    """Path -> content and media type of the page's files."""
    return {path: ((HERE / "static" / name).read_bytes(), media_type) for path, (name, media_type) in FILES.items()}


def render_docs(description: dict) -> bytes:
    """An OpenAPI description as a page of HTML; the usual viewers load scripts from other hosts."""
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("docs.html.jinja").render(description).encode()
