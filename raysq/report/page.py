"""The page that people look at: one file that needs nothing else, for light and dark screens and paper."""

from __future__ import annotations

import html
from collections.abc import Sequence

from raysq.report.figures.style import VARIABLES, Drawing
from raysq.report.formats import Table, html_table
from raysq.report.section import Section
from raysq.webpage import webpage

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1f2328; --muted: #6b7480; --line: #dde1e6;
  --shade: #f5f7f9; --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181c; --ink: #e8eaed; --muted: #9aa3ad; --line: #343a41; --shade: #1c2127;
    --accent: #56b4e9; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 70rem; margin: 0 auto; padding: 2rem 1.25rem 5rem; }
h1 { font-size: 1.9rem; margin: 0 0 .25rem; } h2 { font-size: 1.4rem; margin: 0 0 .5rem; }
section { margin-top: 3rem; padding-top: 1.5rem; border-top: 1px solid var(--line); }
a { color: var(--accent); } p, li { max-width: 46rem; } .muted, .note, figcaption { color: var(--muted); }
.note, figcaption { font-size: .875rem; } nav ul { padding-left: 1.1rem; }
.table { overflow-x: auto; margin-top: 1.5rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .4rem; }
th, td { padding: .3rem .75rem; text-align: right; vertical-align: bottom; white-space: nowrap; }
th { white-space: normal; font-weight: 600; border-bottom: 2px solid var(--line); min-width: 3rem; }
th.theirs { min-width: 10rem; } th:first-child, td:first-child { text-align: left; }
td { border-bottom: 1px solid var(--line); } tbody tr:hover { background: var(--shade); }
.theirs { color: var(--muted); font-style: italic; }
figure { margin: 2rem 0; } figure svg { max-width: 100%; height: auto; display: block; }
figcaption { max-width: 46rem; margin-top: .5rem; }
@media print {
  main { max-width: none; padding: 0; } section { break-before: page; } figure { break-inside: avoid; } }
"""


def page(title: str, made: str, sections: Sequence[Section], papers: Sequence[Table]) -> str:
    """The report as HTML.

    Args:
        title: its heading.
        made: from what and when, in a line.
        sections: the spaces.
        papers: tables of papers of which nothing was run.
    """
    e = html.escape
    links = [(s.name, f"{s.results.space.title}, {s.results.task}") for s in sections]
    links += [("not-run", "Tables of the papers that were not run")] if papers else []
    contents = "".join(f'<li><a href="#{e(name)}">{e(said)}</a></li>' for name, said in links)
    quoted = "".join(map(html_table, papers))
    rest = f'<section id="not-run"><h2>{e(links[-1][1])}</h2>{quoted}</section>' if papers else ""
    return webpage(
        title,
        _STYLE,
        f'<main>\n<h1>{e(title)}</h1><p class="muted">{e(made)}</p><nav><ul>{contents}</ul></nav>\n'
        f"{''.join(map(_section, sections))}{rest}</main>",
    )


def _section(section: Section) -> str:
    e = html.escape
    space = section.results.space
    said = "".join(f"<li>{e(sentence)}</li>" for sentence in section.said)
    data = section.results.data
    return (
        f'<section id="{e(section.name)}"><h2>{e(space.title)}, {e(section.results.task)}</h2>'
        f'<p class="muted">Tune space {e(space.name)}{f", data {e(data[:12])}" if data else ""}</p>'
        f"<ul>{said}</ul>\n{html_table(section.tables[0])}"
        f"{''.join(map(_figure, section.drawings))}{''.join(map(html_table, section.tables[1:]))}</section>\n"
    )


def _figure(drawing: Drawing) -> str:
    """The figure in the page's own colours, which change with the screen's."""
    drawn = drawing.svg[drawing.svg.index("<svg") :]
    for colour, variable in VARIABLES.items():
        drawn = drawn.replace(colour, variable)
    e = html.escape
    return (
        f'<figure role="img" aria-label="{e(drawing.caption)}">{drawn}'
        f"<figcaption>{e(drawing.caption)}</figcaption></figure>\n"
    )
