from io import StringIO

import pytest
from rich.table import Table

from raysq.terminal import shown, terminal

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
