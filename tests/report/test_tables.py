from raysq.report.groups import groups_of
from raysq.report.papers import TABLES
from raysq.report.tables import details_table, judged_by, quoted_table, results_table, scores_table
from raysq.sweep.space import Arm, Axis
from tests.report.made import results, stage, trial


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_every_row_of_the_paper_stands_in_its_order_and_ours_follow():
    trials = [trial("ERAC", 1, 60.0), trial("ERAC", 2, 61.0), trial("MLE", 1, 50.0), trial("MRT", 1, 40.0)]
    found = results(trials)
    table = results_table(found, groups_of(found), TABLES["dai2018-table4"])
    assert texts(table) == [
        ["ERAC", "60.50", "0.71", "60.00", "61.00", "2", "–", "28.30 ± 0.06 (max 28.42)"],
        ["ERAC w/o Future Ent.", "not run", "–", "–", "–", "–", "–", "28.06 ± 0.05 (max 28.11)"],
        ["AC", "not run", "–", "–", "–", "–", "–", "28.04 ± 0.05 (max 28.10)"],
        ["MLE", "50.00", "–", "50.00", "50.00", "1", "–", "–"],
        ["MRT", "40.00", "–", "40.00", "40.00", "1", "–", "–"],
    ]
    assert [column.theirs for column in table.columns] == [False] * 7 + [True]
    assert table.columns[-1].title == "Dai et al. 2018: BLEU (IWSLT 2014 de-en, test)"
    assert table.notes == [
        "Numbers in italics are theirs: Dai et al. 2018, Table 4, on the data named there."
    ]


def test_what_raysq_does_not_have_is_quoted():
    """Table 2 is of input feeding: an arm that has it fixed is a row of it, one without is not."""
    arms = (Arm("AC", "ac", {"network.input_feeding": True}), Arm("ERAC", "erac"))
    found = results([trial("AC", 1, 60.0), trial("ERAC", 1, 61.0)], arms)
    rows = texts(results_table(found, groups_of(found), TABLES["dai2018-table2"]))
    assert [row[:2] for row in rows[3:]] == [
        ["AC", "60.00"],
        ["RAML (Ma et al. 2017)", "not run"],
        ["VAML", "not run"],
        ["ERAC", "not run"],
        ["ERAC", "61.00"],
    ]
    assert rows[0][:2] == ["MIXER (Ranzato et al. 2015)", "not run"]
    assert [row[1] for row in rows[1:3]] == ["quoted, not in raysq"] * 2
    assert [row[-1] for row in rows] == ["20.73", "27.90", "28.30", "28.53", "28.77", "28.94", "29.36", "–"]


def test_runs_that_do_not_count_have_a_dagger():
    trials = [trial("AC", 1, 60.0), trial("AC", 2, 10.0, state="diverged"), trial("AC", 3, state="not run")]
    trials += [trial("MLE", 1, 5.0, state="diverged"), trial("RAML", 1, state="not run")]
    found = results(trials)
    table = results_table(found, groups_of(found), None)
    assert texts(table) == [
        ["AC†", "60.00", "–", "60.00", "60.00", "1", "1 diverged, 1 not run"],
        ["MLE", "diverged", "–", "–", "–", "0", "–"],
        ["RAML", "not run", "–", "–", "–", "0", "–"],
    ]
    assert table.notes == ["† Not all runs are counted: see the column."]


def test_what_a_policy_began_with_is_said():
    """A best checkpoint of update 0 is the actor; one from scratch begins with nothing."""
    stages = [stage("mle", best_update=0), stage("critic", ["mle"]), stage("erac", ["mle", "critic"])]
    kept = [*stages[:2], stage("erac", ["mle", "critic"], best_update=0)]
    diverged = [stages[0], stage("critic", ["mle"], state="diverged"), stages[2]]
    trials = [
        trial("ERAC", s, 60.0, stages=of, final="erac") for s, of in enumerate((stages, kept, diverged))
    ]
    trials.append(trial("MLE", 1, 50.0, stages=stages[:1]))
    found = results(trials)
    assert results_table(found, groups_of(found), None).notes == [
        "Runs whose best checkpoint is the actor they began with: ERAC 1 of 3.",
        "Runs that went on from the best checkpoint of a diverged stage: ERAC 1.",
    ]


def test_a_score_that_finished_runs_do_not_have():
    found = results([trial("MLE", 1, 50.0)], metric="rouge")
    assert texts(results_table(found, groups_of(found), None)) == [["MLE", "no ROUGE", *"–––", "0", "–"]]


def test_settings_match_the_paper_by_the_last_part_of_their_keys():
    """As typed: 1e-3 is the paper's 0.001. Table 3 is of dev scores."""
    axes = (Axis("smoothing", (0.0, 1e-3), ("critic.lambda_var", "erac.lambda_var")),)
    axes += (Axis("rate", (0.001,), ("critic.target_rate", "erac.target_rate")),)
    trials = [
        trial(
            "ERAC", 1, values={"smoothing": "1e-3", "rate": "0.001"}, dev={"bleu": 70.0}, test={"bleu": 1.0}
        )
    ]
    found = results(trials, (Arm("ERAC", "erac", axes=axes),))
    paper = TABLES["dai2018-table3"]
    rows = texts(results_table(found, groups_of(found), paper))
    assert judged_by(found, paper) == ("dev", "bleu")
    assert len(rows) == 8
    assert rows[4] == ["ERAC, smoothing 1e-3, rate 0.001", "70.00", "–", "70.00", "70.00", "1", "–", "29.41"]
    assert rows[1][-1] == "26.27†"
    assert {row[1] for k, row in enumerate(rows) if k != 4} == {"not run"}


def test_details_are_means_over_runs_with_what_came_before():
    stages = [
        stage("mle", updates=100, seconds=60.0),
        stage("critic", ["mle"], updates=40, seconds=120.0, reward_calls=1000),
        stage("erac", ["mle", "critic"], updates=50, seconds=30.0, reward_calls=2000),
    ]
    scores = {"bleu": 50.0, "sample_bleu": 40.0, "length_ratio": 0.95, "perplexity": 2.0}
    trials = [trial("ERAC", s, stages=stages, final="erac", dev={"bleu": 51.0}, test=scores) for s in (1, 2)]
    found = results([*trials, trial("ERAC", 3, state="failed")])
    assert texts(details_table(found, groups_of(found))) == [
        ["ERAC†", "51.00", "40.00", "0.950", "2.00", "50", "50", "0.5", "2,000", "3.0"]
    ]


def test_all_scores_of_captions_and_of_headlines():
    """BLEU-4 is BLEU: once. What a group does not have stays empty; where BLEU is all, there is no table."""
    captions = [{"bleu": 20.0, "bleu1": 60.0, "bleu4": 20.0, "cider": c, "perplexity": 3.0} for c in (70, 74)]
    trials = [trial("MLE", s, test=scores) for s, scores in enumerate(captions)]
    trials += [trial("AC", 1, test={"bleu4": 21.0}), trial("RAML", 1, state="failed")]
    (table,) = scores_table(found := results(trials), groups_of(found))
    assert [column.title for column in table.columns] == ["algorithm", "BLEU-1", "BLEU-4", "CIDEr"]
    mle = ["MLE", "60.00 ± 0.00", "20.00 ± 0.00", "72.00 ± 2.83"]
    assert texts(table) == [mle, ["AC", "–", "21.00", "–"]]
    headlines = results([trial("MLE", 1, test={"bleu": 5.0, "rouge": 30.0, "rougeL": 33.0})], metric="rouge")
    (table,) = scores_table(headlines, groups_of(headlines))
    assert [column.title for column in table.columns] == ["algorithm", "BLEU", "ROUGE", "ROUGE-L"]
    assert details_table(headlines, groups_of(headlines)).columns[1].title == "dev ROUGE"
    alone = results([trial("MLE", 1, 5.0)])
    assert scores_table(alone, groups_of(alone)) == []


def test_a_table_of_which_nothing_was_run():
    table = quoted_table(TABLES["erpo-table2"])
    assert texts(table)[1] == [
        "RAML (Norouzi et al. 2016)",
        "not run",
        "32.49 ± 0.17",
        "36.30 ± 0.04",
        "16.69 ± 0.20",
    ]
