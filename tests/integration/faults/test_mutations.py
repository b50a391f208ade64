"""The list of removals fits the sources: ``make mutations`` can run all of it."""

from pathlib import Path

import pytest

from tests.integration.faults.mutations import ROOT, Removal, removals


@pytest.mark.parametrize("removal", removals(), ids=lambda removal: removal.what)
def test_a_removal_fits_the_sources(removal: Removal) -> None:
    assert (ROOT / removal.path).read_text().count(removal.old) == 1
    assert removal.new != removal.old
    file, _, name = removal.test.partition("::")
    assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text()


def test_a_text_that_is_not_there_once_cannot_be_removed(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    with pytest.raises(ValueError, match=r"a\.py has 2 times: 'x = 1'"):
        Removal("twice", "a.py", "x = 1", "x = 2", "t").apply(tmp_path)
    Removal("once", "a.py", "x = 1\nx", "x = 2\nx", "t").apply(tmp_path)
    assert (tmp_path / "a.py").read_text() == "x = 2\nx = 1\n"
