"""The page: its tables come from capacity.json, and are those of the file beside it."""

import re

import pytest

from raysq.commandline import run_command
from raysq.config import UserError
from raysq.files import replace_json
from tests.benchmarks.capacity import page, saturation, tables
from tests.benchmarks.capacity.__main__ import main
from tests.benchmarks.capacity.constants import RECORD as NAME
from tests.benchmarks.capacity.constants import read
from tests.benchmarks.capacity.made import RECORD
from tests.benchmarks.capacity.settings import CapacitySettings

SETTINGS = CapacitySettings()
SIMULATED = ("saturation", "verdict")
"""Blocks that take the simulation, which is not repeated here."""


def test_the_page_is_that_of_its_numbers():
    """Whoever changes a formula, a table or capacity.json writes the page anew: ``--steps page``."""
    text = SETTINGS.page.read_text(encoding="utf-8")
    there = {match["name"]: match[0].splitlines()[1:-1] for match in page.BLOCK.finditer(text)}
    made = page.blocks(SETTINGS, read(SETTINGS.output_dir), [])
    assert there.keys() == made.keys()
    for name, lines in made.items():
        if name not in SIMULATED:
            assert there[name] == lines, name


def test_blocks_are_filled_and_nothing_else_changes(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("a\n<!-- capacity:one -->\nold\n<!-- capacity:end -->\nb\n")
    page.fill(path, {"one": ["new", "lines"]})
    filled = "a\n<!-- capacity:one -->\nnew\nlines\n<!-- capacity:end -->\nb\n"
    assert path.read_text() == filled
    page.fill(path, {"one": ["new", "lines"]})
    assert path.read_text() == filled


@pytest.mark.parametrize("text", ["", "<!-- capacity:one -->\n<!-- capacity:end -->\n" * 2])
def test_other_markers_are_refused(tmp_path, text):
    path = tmp_path / "page.md"
    path.write_text(text)
    with pytest.raises(UserError, match="restore them"):
        page.fill(path, {"one": []})
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (0.012345, "0.0123"), (12.345, "12.3"), (12345.6, "12,346")]
)
def test_numbers_have_three_digits(value, shown):
    assert tables.number(value) == shown


def test_a_check_shows_by_how_much_predictions_are_off():
    row = tables.checks(RECORD.checks)[-1]
    assert re.findall(r"[+-]\d+%", row) == ["+10%", "+20%"]
    assert "Not run on this machine" in tables.checks(())[0]


def test_the_worked_example_says_how_many_are_enough():
    lines = tables.example(SETTINGS, RECORD)
    # an update of 2.5 s; rewards are needed after 0.4 of it
    assert "An update is 2,500 ms of arithmetic; its 50 rewards are needed 1,000 ms after" in lines[0]
    assert "**1 reward worker** is enough" in lines[0]
    thirty_two = next(line for line in lines if line.startswith("| 32 |"))
    sends = 1000 * (32 * 5e-4 + 50 * 1e-5)
    assert thirty_two.endswith(f"| {sends:.3g} |")


def test_sharing_a_batch_ends_where_there_are_no_more_sentences():
    rows = [line for line in tables.shared(SETTINGS, RECORD) if line[2].isdigit()]
    assert [row.split()[1] for row in rows] == ["1", "2", "4", "8", "16", "50"]
    assert rows[0].split("|")[2].strip() == "2,500 ms, 100%"


def test_the_command_writes_the_page_from_the_record(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(saturation, "SIZES", (1, 2))
    replace_json(tmp_path / NAME, RECORD.model_dump(mode="json"))
    path = tmp_path / "page.md"
    path.write_text(SETTINGS.page.read_text(encoding="utf-8"))
    argv = ["--steps=page", f"--output-dir={tmp_path}", f"--page={path}"]
    assert run_command(CapacitySettings, main, description="", argv=argv) == 0
    text = path.read_text()
    assert "a processor, 2 cores, 8 GiB" in text
    assert "nothing saturates but the learners" in text
    assert (tmp_path / "saturation.png").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--steps=page"], "run the step measure first"),
        (["--steps=guess"], "must be measure, runs or page"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(tmp_path, options, said, capsys):
    argv = [*options, f"--output-dir={tmp_path}"]
    assert run_command(CapacitySettings, main, description="", argv=argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert said in printed.err
