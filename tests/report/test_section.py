import pytest

from raysq.config import UserError
from raysq.report.gather import completed
from raysq.report.section import section_of
from raysq.sweep.space import Arm, Axis
from tests.report.made import REFERENCES, grid, results, stage, trial


def curves(end):
    return [stage("mle", scores=[(10, 1.0, 0, 5.0), (20, 2.0, 0, end)])]


def test_all_that_is_known_is_said():
    worse = [line.replace("the", "a") for line in REFERENCES]
    trials = [trial("MLE", s, 50.0, stages=curves(50.0), hypotheses=worse) for s in (1, 2)]
    trials += [trial("AC", s, 52.0 + s, stages=curves(52.0), hypotheses=REFERENCES) for s in (1, 2)]
    trials += [trial("RAML", 1, 51.0), trial("RAML", 2, state="diverged")]
    section = section_of(results(trials, references=REFERENCES, baseline="MLE", table="dai2018-table1"))
    assert section.name == "small-demo"
    assert section.said == [
        "5 of 6 trials have finished, 1 diverged.",
        "Most is gained over MLE by AC: +3.50 test BLEU in the mean of 2 seeds (95 % t interval "
        "-2.85 .. +9.85, p = 0.5 by exact change of signs, where 2 seeds allow no p below 0.5); over "
        "sentences p = 0.045 (paired bootstrap). It is the best of 2, for which no p is corrected.",
    ]
    assert [table.key for table in section.tables] == ["results", "significance", "details"]
    assert [drawing.key for drawing in section.drawings] == ["gains", "convergence"]


def test_a_sweep_that_has_not_ended_is_a_part():
    found = results([trial("MLE", 1, 5.0), trial("MLE", 2, state="unfinished")])
    found.unfinished, found.notes = True, ["a note"]
    assert section_of(found).said == [
        "1 of 2 trials has finished, 1 unfinished. The sweep is not finished: this is a part.",
        "a note",
    ]


def test_one_seed_says_nothing_of_others():
    found = results([trial("MLE", 1, 50.0), trial("AC", 1, 52.0)], baseline="MLE")
    assert section_of(found).said[1] == (
        "Most is gained over MLE by AC: +2.00 test BLEU with one seed, which says nothing of others."
    )


def test_nothing_gained_is_said():
    trials = [trial("MLE", 1, 50.0), trial("AC", 1, 49.0), trial("RAML", 1, 48.0)]
    assert section_of(results(trials, baseline="MLE")).said[1] == (
        "Nothing gains over MLE; AC comes nearest: -1.00 test BLEU with one seed, which says nothing of "
        "others. It is the best of 2, for which no p is corrected."
    )


def test_a_space_of_which_nothing_was_run():
    """Every kind of figure is asked for and none is drawn."""
    tau = Axis("tau", (0.0, 0.1), ("erac.tau",))
    arms = (Arm("ERAC", "erac", axes=(tau,)), Arm("AC", "ac", axes=grid("ac")), Arm("MLE", "mle"))
    section = section_of(completed([results([], arms, seeds=(1,), baseline="MLE")]))
    assert section.said == ["0 of 7 trials have finished, 7 not run."]
    assert section.drawings == []
    assert [table.key for table in section.tables] == ["results"]
    assert {cell.text for row in section.tables[0].rows for cell in row[1:]} == {"not run", "–", "0"}


def test_a_table_that_there_is_not():
    with pytest.raises(
        UserError, match="space small names table dai2018: it must be one of dai2018-table1, "
    ):
        section_of(results([trial("MLE", 1, 5.0)], table="dai2018"))
