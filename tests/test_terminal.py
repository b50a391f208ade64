from io import StringIO

import pytest
from rich.table import Table

from raysq.terminal import shown, terminal, without_credentials

TEXT = "[old]/data 12 :smile: " + "x" * 100


@pytest.mark.parametrize("colours", [False, True])
def test_text_stays_as_it_is(colours: bool) -> None:
    """Brackets, colons and numbers mean nothing, and no line is broken; neither are they in a table."""
    out = StringIO()
    console = terminal(file=out, width=60, force_terminal=colours)
    console.print(TEXT)
    assert out.getvalue() == f"{TEXT}\n"
    table = Table("[dim]name")
    table.add_row(":cat:")
    console.print(table, soft_wrap=False)
    assert "[dim]name" in out.getvalue()
    assert ":cat:" in out.getvalue()


def test_names_that_would_break_a_line_or_a_terminal() -> None:
    assert shown("a b é.png") == "a b é.png"
    assert shown("a\tb\n\x1b[31m\udce9.png") == "a\\tb\\n\\x1b[31m\\udce9.png"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://me:secret@host:5000/api", "http://host:5000/api"),
        ("at (https://secret@host): away", "at (https://host): away"),
        ("'s3://key:se@cret@host/x', 'ftp://me:secret@host'", "'s3://host/x', 'ftp://host'"),
        ("http://me:se/cr?e#t@host/x", "http://host/x"),
        ("url='https://host/a.tgz?X-Signature=secret'", "url='https://host/a.tgz?...'"),
        ("http://me:secret@host/a?sig=secret: gone", "http://host/a?... gone"),
    ],
)
def test_secrets_of_addresses_are_not_told(text, told):
    assert without_credentials(text) == told


@pytest.mark.parametrize(
    "text",
    [
        "http://host:5000/#/compare-runs?runs=1",
        "http://host:5000/people/me@there",
        "sqlite:////a/b@c.db",
        "me@host: no // address",
        "what? me@host",
    ],
)
def test_what_is_no_secret_is_told(text):
    assert without_credentials(text) == text
