"""Pages that people open: one file that needs nothing else, runs nothing and fetches nothing."""

from __future__ import annotations

from html import escape

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What a browser may do for a page, whatever text of the data it holds: styles and pictures of its own."""


_MARKDOWN = str.maketrans({"|": r"\|", "<": "&lt;", "[": r"\[", "]": r"\]", "\r": " "})


def markdown_text(text: str) -> str:
    """Text in which no tag, link or picture begins, no cell and no line ends."""
    return " ".join(text.translate(_MARKDOWN).split("\n"))


def webpage(title: str, style: str, body: str) -> str:
    """A page as HTML.

    Args:
        title: text.
        style: CSS.
        body: HTML, in which every text is escaped.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body>{body}</body></html>\n"
    )
