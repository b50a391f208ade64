"""A few bad inputs for every reader, all that were ever found, and that the harness finds what is wrong.

``python -m tests.fuzz.run`` gives them thousands.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.fuzz.faulty import CAREFUL, careless, endless, fatal, silent
from tests.fuzz.harness import Target, attempt, valid_input
from tests.fuzz.inputs import bad_input
from tests.fuzz.run import Tally, chosen, fuzz, keep, kept

INPUTS = 30


@pytest.mark.parametrize("target", chosen(), ids=lambda target: target.name)
def test_bad_inputs_are_refused_by_name(target, tmp_path):
    base = tmp_path / "base"
    valid = valid_input(target, base)
    tally = Tally()
    for number in range(INPUTS):
        case = bad_input(target, valid, 0, number)
        tally.add(number, case, attempt(target, valid, case.changes, base, mended=case.mended))
    assert tally.findings == {}
    assert tally.counts["passes header"] > INPUTS / 3
    assert tally.counts["refused"] > 0
    for name, changes, mended in kept(target):
        outcome = attempt(target, valid, changes, base, mended=mended)
        assert outcome.kind != "finding", (name, outcome.said)


def found(target: Target, changes: dict[str, bytes], base: Path) -> str:
    outcome = attempt(target, valid_input(target, base), changes, base, limit=0.05)
    assert outcome.kind == "finding"
    return outcome.said


def test_an_exception_is_found(tmp_path):
    said = found(replace(CAREFUL, read=careless), {"numbers.txt": b"1\n"}, tmp_path / "base")
    assert said.endswith("IndexError: list index out of range\n")
    assert "in careless" in said


def test_a_refusal_without_a_name_is_found(tmp_path):
    said = found(replace(CAREFUL, read=silent), {"numbers.txt": b"1\n"}, tmp_path / "base")
    assert said == "the message names no file: bad numbers"


def test_a_reader_that_waits_for_ever_is_found(tmp_path):
    said = found(replace(CAREFUL, read=endless), {"numbers.txt": b"1\n"}, tmp_path / "base")
    assert said.startswith("computes for more than 0.05 s, or waits")


def test_what_is_refused_and_what_is_taken(tmp_path):
    base = tmp_path / "base"
    valid = valid_input(CAREFUL, base)
    assert attempt(CAREFUL, valid, {"numbers.txt": b"3\n4\n5\n"}, base).kind == "accepted"
    assert attempt(CAREFUL, valid, {"numbers.txt": "missing"}, base).kind == "refused"
    assert attempt(CAREFUL, valid, {"numbers.txt": b"1\n2\n"}, base).said.endswith("has 2 numbers: give 3")


def test_a_process_that_dies_is_found_and_another_goes_on():
    """Of the first five inputs one is longer than the valid file; those after it are read all the same."""
    tally = fuzz(replace(CAREFUL, read=fatal), 1, 4)
    assert (tally.counts["inputs"], tally.counts["accepted"], tally.counts["finding"]) == (5, 4, 1)
    assert [said for _, said in tally.findings.values()] == ["the process died with status 3"]


def test_found_inputs_are_kept_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.fuzz.run.FOUND", tmp_path)
    valid = valid_input(CAREFUL, tmp_path / "base")
    for number in range(20):
        assert keep(CAREFUL, 1, number, "wrong") == tmp_path / "careful" / f"1-{number}.json"
        case = bad_input(CAREFUL, valid, 1, number)
        ((_, changes, mended),) = kept(CAREFUL)
        assert (changes, mended) == (case.changes, case.mended)
        (tmp_path / "careful" / f"1-{number}.json").unlink()


def test_an_input_depends_on_its_number_alone(tmp_path):
    valid = valid_input(CAREFUL, tmp_path / "base")
    one, other = ([bad_input(CAREFUL, valid, 1, number) for number in range(9)] for _ in range(2))
    assert one == other
    assert len({str(case.changes) for case in one}) > 7
