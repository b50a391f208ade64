import pytest

from raysq.report.comparisons import compare, significance_table
from raysq.report.groups import groups_of
from raysq.sweep.space import Arm
from tests.report.made import REFERENCES, grid, results, trial


def compared(found):
    return compare(found, groups_of(found))


def test_gains_over_the_baseline_by_seed():
    trials = [trial("MLE", s, b) for s, b in ((1, 50.0), (2, 52.0), (3, 51.0))]
    trials += [trial("ERAC", s, b) for s, b in ((1, 51.0), (2, 54.0), (3, 54.0))]
    (erac,) = compared(results(trials, baseline="MLE"))
    assert erac.gains == [1.0, 2.0, 3.0]
    assert (erac.over_seeds.mean, erac.over_seeds.n, erac.over_seeds.p_signs_flipped) == (2.0, 3, 0.25)
    assert erac.over_sentences is None
    row = [cell.text for cell in significance_table(results(trials, baseline="MLE"), [erac]).rows[0]]
    assert row == [
        "ERAC",
        "+2.00",
        "3 : 3",
        "+2.00",
        "1.00",
        "-0.48 .. +4.48",
        "3 of 3",
        "0.250",
        "0.250",
        "–",
        "–",
        "–",
    ]


def test_runs_without_partner_count_in_the_difference_of_means():
    """Two seeds of the baseline's three are not the group's: its pairs say +1, the means 52 - 54."""
    trials = [trial("MLE", s, b) for s, b in ((1, 51.0), (2, 60.0), (3, 51.0))]
    found = results([*trials, trial("AC", 1, 52.0)], baseline="MLE")
    (ac,) = compared(found)
    assert (ac.over_seeds.mean, ac.of_means) == (1.0, -2.0)
    row = [cell.text for cell in significance_table(found, [ac]).rows[0]]
    assert row[:4] == ["AC", "-2.00", "1 : 3", "+1.00"]
    worse = results([*trials, trial("AC", 1, 52.0)], baseline="MLE", mode="min")
    assert compared(worse)[0].of_means == 2.0


def test_fewer_is_better_where_the_space_says_so():
    trials = [trial("MLE", 1, 5.0), trial("ERAC", 1, 3.0)]
    assert compared(results(trials, baseline="MLE", mode="min"))[0].gains == [2.0]


def test_without_baseline_nothing_is_compared():
    assert compared(results([trial("MLE", 1, 5.0), trial("ERAC", 1, 3.0)])) == []


def test_over_sentences_all_pairs_and_each():
    worse = [line.replace("the", "a") for line in REFERENCES]
    trials = [trial("MLE", s, 50.0, hypotheses=worse) for s in (1, 2)]
    trials += [trial("ERAC", 1, 60.0, hypotheses=REFERENCES), trial("ERAC", 2, 50.0, hypotheses=worse)]
    (erac,) = compared(results(trials, baseline="MLE", references=REFERENCES))
    assert len(erac.by_pair) == 2
    assert erac.by_pair[1].p == 1.0
    assert erac.over_sentences.mean == pytest.approx(erac.by_pair[0].mean / 2)


def test_pairs_without_hypotheses_are_left_out_of_the_bootstrap():
    trials = [trial("MLE", s, 50.0, hypotheses=REFERENCES) for s in (1, 2)]
    trials += [trial("ERAC", 1, 60.0, hypotheses=REFERENCES), trial("ERAC", 2, 60.0)]
    (erac,) = compared(results(trials, baseline="MLE", references=REFERENCES))
    assert (len(erac.by_pair), erac.over_seeds.n) == (1, 2)


def notes(found):
    return significance_table(found, compared(found)).notes


def test_few_seeds_are_said_to_prove_nothing():
    trials = [trial(arm, s, 50.0 + s) for arm in ("MLE", "ERAC") for s in (1, 2, 3)]
    assert notes(results(trials, baseline="MLE"))[1] == (
        "Over seeds: 3 seeds say little, no p below 0.25 is possible in the exact tests."
    )
    trials = [trial(arm, s, 50.0 + s) for arm in ("MLE", "ERAC") for s in range(6)]
    assert notes(results(trials, baseline="MLE"))[1].startswith("Over sentences: sacreBLEU's paired")


def test_rouge_is_said_to_be_a_mean_and_has_no_bootstrap_of_sacrebleu():
    trials = [trial(arm, s, test={"rouge": 30.0 + s}) for arm in ("MLE", "ERAC") for s in range(6)]
    said = notes(results(trials, baseline="MLE", metric="rouge"))
    assert said[1] == "ROUGE is the mean of ROUGE-1, ROUGE-2 and ROUGE-L."
    assert said[2].startswith("Over sentences: paired bootstrap")


def test_a_grid_is_said_to_share_what_it_shares():
    arms = (Arm("MLE", "mle"), Arm("AC", "ac", axes=grid("ac")), Arm("ERAC", "erac", axes=grid("erac")))
    trials = [trial("MLE", 1, 10.0)] + [
        trial(arm, 1, 20.0 + c + a, {"critic seed": str(c), "actor seed": str(a)})
        for arm in ("AC", "ERAC")
        for c in (1, 2)
        for a in (1, 2)
    ]
    beside_actor = results(trials, arms, baseline="MLE")
    assert [(c.over_seeds.n, c.over_seeds.mean) for c in compared(beside_actor)] == [(1, 13.0)] * 2
    assert notes(beside_actor)[1].startswith("Over seeds: one seed says nothing")
    assert notes(beside_actor)[2].endswith("AC (4 pairs of runs), ERAC (4 pairs of runs).")
    beside_grid = results(trials, arms, baseline="AC")
    (mle, erac) = compared(beside_grid)
    assert (mle.over_seeds.n, erac.over_seeds.n) == (1, 4)
    assert any(note.startswith("ERAC: runs share critics and actors") for note in notes(beside_grid))
