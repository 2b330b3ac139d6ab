"""A report as one HTML file that needs nothing beside it."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

from src.dataset_report.context import Section, Table

STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --quiet: #5b6570; --ground: #fbfbf9; --card: #fff; --line: #dcdfe3;
  --link: #14634a }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --quiet: #a0a8b0; --ground: #16191c; --card: #1f2428;
  --line: #363d44; --link: #6fcfa8 } .paper { filter: brightness(.86) } }
* { box-sizing: border-box }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100% }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 system-ui, sans-serif }
a { color: var(--link) }
.page { display: grid; grid-template-columns: 14rem minmax(0, 52rem); gap: 2.5rem; max-width: 72rem; margin: 0 auto;
  padding: 1.5rem }
nav { position: sticky; top: 1.5rem; align-self: start; font-size: .92rem }
nav ol { list-style: none; margin: .5rem 0; padding: 0 }
nav li { margin: .35rem 0 }
nav a { text-decoration: none }
nav a:hover, nav a:focus-visible { text-decoration: underline }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line) }
p { margin: .6rem 0; overflow-wrap: anywhere }
.hint { display: none }
summary { cursor: pointer; color: var(--link) }
.quiet, figcaption, caption { color: var(--quiet) }
figure { margin: 1.2rem 0 }
.paper { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 10px; overflow-x: auto }
.paper img { display: block; height: auto; max-width: 100%; margin: 0 auto }
figcaption { font-size: .92rem; margin-top: .45rem }
.table { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums }
caption { caption-side: bottom; text-align: left; padding-top: .4rem }
th, td { padding: .25rem .45rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th:first-child, td:first-child { text-align: left }
th { white-space: normal; vertical-align: bottom }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 4.5rem; max-width: 11rem }
dl { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .7rem 1rem; display: grid;
  grid-template-columns: auto 1fr; gap: .3rem 1.2rem; margin: 1rem 0 }
dt { color: var(--quiet) } dd { margin: 0; font-weight: 600 }
@media (max-width: 60rem) {
  .page { display: block; padding: 1rem }
  nav { position: static; border: 1px solid var(--line); border-radius: 8px; padding: .6rem 1rem; margin: 1rem 0 }
  nav ol { columns: 2 }
  .hint { display: block }
  .paper img.wide { min-width: 34rem }
  dl { grid-template-columns: 1fr; gap: 0 } dd { margin-bottom: .5rem }
}
@media print { nav { display: none } .page { display: block } h2 { break-after: avoid } figure { break-inside: avoid } }
"""
WIDE_PX = 700
LONG = 16  # rows; a longer table is folded


def page(
    title: str,
    about: str,
    sections: Mapping[str, Section],
    pictures: Mapping[str, tuple[bytes, int]],
    notes: Sequence[str] = (),
) -> str:
    """The whole report as HTML: every text escaped, every picture inside it.

    sections: by their key, which is their anchor. pictures: name -> PNG and its width in pixels.
    """
    contents = "".join(f'<li><a href="#{key}">{escape(one.title)}</a></li>' for key, one in sections.items())
    brief = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>"
        for one in sections.values()
        for name, text in one.brief.items()
    )
    body = "\n".join(_section(key, one, pictures) for key, one in sections.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<div class="page">
<nav aria-label="Contents"><strong>Contents</strong><ol>{contents}</ol></nav>
<main>
<h1>{escape(title)}</h1>
<p class="quiet">{escape(about)}</p>
{"".join(f"<p>{escape(note)}</p>" for note in notes)}
<p class="hint quiet">Wide pictures and tables can be moved sideways.</p>
{f"<dl>{brief}</dl>" if brief else ""}
{body}
</main>
</div>
</body>
</html>
"""


def _section(key: str, section: Section, pictures: Mapping[str, tuple[bytes, int]]) -> str:
    parts = [f'<section id="{key}"><h2>{escape(section.title)}</h2>']
    parts += [f"<p>{escape(text)}</p>" for text in section.text]
    for one in section.shown:
        content, width = pictures[one.name]
        data = base64.b64encode(content).decode()
        wide = ' class="wide"' if width >= WIDE_PX else ""
        parts.append(
            f'<figure id="figure-{one.name}"><div class="paper" tabindex="0">'
            f'<img{wide} src="data:image/png;base64,{data}" '
            f'alt="{escape(one.alt)}" width="{width}"></div><figcaption>{escape(one.caption)}</figcaption></figure>'
        )
    parts += [_table(table) for table in section.tables]
    return "\n".join([*parts, "</section>"])


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(str(cell))}</th>' for cell in table.head)
    rows = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in table.rows)
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    text = f'<div class="table"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    count = len(table.rows)
    return text if count <= LONG else f"<details><summary>Table of {count} rows</summary>{text}</details>"
