"""A page with images, their captions and references: one file that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

from PIL import Image

from raysq.webpage import webpage

SIDE = 256
"""Longest side of a picture in the page; a larger one is made smaller [pixels]."""
_QUALITY = 90
_STYLE = """
:root { color-scheme: light dark; --paper: #f6f5f2; --card: #fff; --ink: #1d1d1f; --soft: #65656b;
  --line: #e2e0da; }
@media (prefers-color-scheme: dark) { :root { --paper: #141518; --card: #1d1f23; --ink: #ececea;
  --soft: #a0a0a6; --line: #33353b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 90rem; padding: 2rem 1.5rem; background: var(--paper); color: var(--ink);
  font: 15px/1.4 system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif; }
h1 { font-size: 1.6rem; font-weight: 650; margin: 0 0 .2rem; letter-spacing: -.01em; }
.facts, .name, li { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
.scores { display: flex; flex-wrap: wrap; gap: .3rem 2rem; margin: 1rem 0 0; }
.scores dt { color: var(--soft); font-size: .85rem; }
.scores dd { margin: 0; font-size: 1.25rem; font-weight: 650; font-variant-numeric: tabular-nums; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem;
  margin-top: 1.5rem; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  overflow: hidden; break-inside: avoid; }
img { display: block; width: 100%; height: 13rem; object-fit: contain; background: var(--line); }
figcaption { padding: .7rem .9rem .8rem; }
.caption { font-weight: 650; margin: 0 0 .15rem; overflow-wrap: anywhere; }
.name { display: flex; justify-content: space-between; gap: 1rem; }
.name span:last-child { white-space: nowrap; font-variant-numeric: tabular-nums; }
ul { margin: .5rem 0 0; padding-left: 1.1rem; }
@media print { :root { color-scheme: light; --paper: #fff; --card: #fff; --ink: #000; --soft: #444;
  --line: #ccc; } @page { margin: 12mm; } body { padding: 0; max-width: none; font-size: 9pt; }
  main { grid-template-columns: repeat(4, 1fr); gap: .6rem; } img { height: 9rem; } }
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """An image on the sheet."""

    name: str
    picture: str
    """Its `embedded` picture."""
    caption: str
    log_prob: float
    references: tuple[str, ...]
    """What people said; may be none."""


def contact_sheet(
    title: str, facts: Iterable[str], scores: Mapping[str, float], entries: Iterable[Entry]
) -> str:
    """The sheet as HTML; every text is escaped.

    Args:
        title: its heading.
        facts: what the captions were made with, in a line.
        scores: in percent, by name; may be none.
        entries: the images in order.
    """
    told = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{score:.1f}</dd></div>" for name, score in scores.items()
    )
    return webpage(
        title,
        _STYLE,
        f'<header><h1>{escape(title)}</h1><div class="facts">{escape(" · ".join(facts))}</div>'
        f'<dl class="scores">{told}</dl></header>\n<main>\n{"".join(map(_figure, entries))}</main>',
    )


def embedded(image: Image.Image) -> str:
    """An RGB image as a ``data:`` URI, made small."""
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=_QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def _figure(entry: Entry) -> str:
    references = "".join(f"<li>{escape(text)}</li>" for text in entry.references)
    log_prob = f"{entry.log_prob:.2f}".replace("-", "−")
    return (
        f'<figure><img src="{escape(entry.picture)}" alt="{escape(entry.caption)}"><figcaption>'
        f'<p class="caption">{escape(entry.caption)}</p>'
        f'<div class="name"><span>{escape(entry.name)}</span>'
        f"<span>log p = {log_prob}</span></div>"
        f"{f'<ul>{references}</ul>' if references else ''}</figcaption></figure>\n"
    )
