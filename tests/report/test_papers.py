import pytest

from raysq.report.papers import TABLES, kind_of

ROWS = {(key, row.label): row for key, table in TABLES.items() for row in table.rows}


def numbers(key, label):
    return [
        None if n is None else (n.mean, n.deviation, n.lowest, n.highest) for n in ROWS[key, label].numbers
    ]


def test_numbers_are_in_their_columns():
    assert numbers("dai2018-table1", "ERAC") == [
        (28.30, 0.06, 28.25, 28.42),
        (29.31, 0.04, 29.26, 29.36),
        (31.44, 0.22, 31.07, 31.82),
    ]
    assert [n[0] for n in numbers("dai2018-table1", "MLE")] == [27.01, 28.06, 29.54]
    assert numbers("dai2018-table4", "ERAC w/o Future Ent.") == [(28.06, 0.05, None, 28.11)]
    assert numbers("erpo-table2", "interpolation (Tan et al. 2019)") == [
        (32.95, 0.33, None, None),
        (36.72, 0.29, None, None),
        (16.99, 0.17, None, None),
    ]
    alpha = "alpha-DiMT, alpha 0.5 (Koyamada et al. 2017)"
    assert [n[0] for n in numbers("alpha-dimt-table1", alpha)] == [28.49, 28.02, 29.91]


def test_gains_that_the_papers_state():
    """RAML gains 0.17 ROUGE-L (Figure 4), interpolation 1.5 BLEU at dropout 0.3 (appendix D)."""

    def gain(key, label, baseline="MLE"):
        return ROWS[key, label].numbers[0].mean - ROWS[key, baseline].numbers[0].mean

    raml, ours = "RAML (Norouzi et al. 2016)", "interpolation (Tan et al. 2019)"
    assert gain("erpo-table2", raml) == pytest.approx(0.17)
    assert gain("erpo-table3", f"{ours}, dropout 0.3", "MLE, dropout 0.3") == pytest.approx(1.5)
    assert gain("erpo-table3", f"{ours}, dropout 0.3", f"{raml}, dropout 0.3") == pytest.approx(0.49)
    assert gain("erpo-table1", ours) == pytest.approx(1.38)


def test_the_target_network_and_smoothing():
    cells = {
        (row.settings["lambda_var"], row.settings["target_rate"]): row.numbers[0].mean
        for (key, _), row in ROWS.items()
        if key == "dai2018-table3"
    }
    assert cells["0", "0.01"] == 26.27
    assert cells["0.001", "0.001"] == 29.41
    assert cells["0.001", "1"] == 27.44
    assert len(cells) == 8


def test_what_is_only_quoted():
    assert {label for (_, label), row in ROWS.items() if row.arm is None} == {
        "BSO (Wiseman and Rush 2016)",
        "Q(BLEU) (Li et al. 2017)",
        "ML (Bahdanau et al. 2017)",
    }


def test_every_row_has_a_number_a_column():
    for table in TABLES.values():
        assert {len(row.numbers) for row in table.rows} <= {len(table.columns)}, table.key


def test_only_we_are_ours():
    """Beside our numbers a paper's "ours" would be read as ours."""
    assert not [label for _, label in ROWS if "ours" in label.lower()]


@pytest.mark.parametrize(
    ("key", "task", "feeding", "score", "title"),
    [
        ("dai2018-table1", "demo", None, "test bleu", "without input feeding"),
        ("dai2018-table1", "iwslt14", "false", "test bleu", "without input feeding"),
        ("dai2018-table1", "iwslt14", "true", "test bleu", "with input feeding"),
        ("dai2018-table1", "captioning", None, "test bleu", "captioning"),
        ("dai2018-table1", "demo-captioning", None, "test bleu", "captioning"),
        ("dai2018-table1", "headline", None, "test bleu", None),
        ("dai2018-table1", "demo", None, "dev bleu", None),
        ("dai2018-table2", "multi30k", "true", "test bleu", "BLEU"),
        ("dai2018-table2", "multi30k", "false", "test bleu", None),
        ("dai2018-table3", "multi30k", None, "dev bleu", "BLEU"),
        ("dai2018-table3", "captioning", None, "dev bleu", None),
        ("dai2018-table4", "multi30k", "true", "test bleu", None),
        ("erpo-table1", "multi30k", "true", "test bleu", "BLEU"),  # not said in the paper
        ("erpo-table2", "demo-headline", None, "test rougeL", "ROUGE-L"),
        ("erpo-table2", "headline", None, "test rouge2", "ROUGE-2"),
        ("erpo-table2", "headline", None, "test rouge", None),
        ("erpo-table2", "europarl", None, "test rougeL", None),
        ("alpha-dimt-table1", "tsv", None, "test bleu", "beam 10"),
        ("alpha-dimt-table1", "files", None, "dev greedy_bleu", "dev, greedy"),
    ],
)
def test_the_column_of_a_task_its_settings_and_the_score(key, task, feeding, score, title):
    table, settings = TABLES[key], {} if feeding is None else {"input_feeding": feeding}
    place = table.column(task, settings, *score.split())
    assert (None if place is None else table.columns[place].title) == title


def test_what_tasks_are_about():
    assert kind_of("multi30k") == kind_of("demo") == "translation"
    assert (kind_of("demo-captioning"), kind_of("demo-headline")) == ("captioning", "headline")
