"""The page and the list of routes, held in memory: a request never opens a file."""

from html import escape
from pathlib import Path

PAGE = Path(__file__).resolve().parent / "static"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}


def read_page() -> dict[str, tuple[bytes, str]]:
    """Path -> content and type of the page's files."""
    return {path: ((PAGE / name).read_bytes(), kind) for path, (name, kind) in FILES.items()}


def docs_page(described: dict) -> bytes:
    """The OpenAPI description as a page of its own: the usual ones load scripts from elsewhere."""
    rows = []
    for path, methods in described["paths"].items():
        for method, what in methods.items():
            answers = ", ".join(what["responses"])
            query = ", ".join(option["name"] for option in what.get("parameters", []))
            takes = ", ".join(what.get("requestBody", {}).get("content", {}))
            cells = (f"{method.upper()} {path}", what.get("summary", ""), query, takes, answers)
            rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    title = escape(described["info"]["title"])
    head = "".join(f"<th scope=col>{name}</th>" for name in ("route", "what it does", "query", "takes", "answers"))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><link rel="icon" href="/icon.svg"><link rel="stylesheet" href="/page.css"></head>
<body><main><h1>{title}</h1><p>{escape(described["info"]["description"])}</p>
<p>For programs: <a href="/openapi.json">openapi.json</a></p>
<table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></main></body></html>
""".encode()
