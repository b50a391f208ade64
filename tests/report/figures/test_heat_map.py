from raysq.report.figures.heat_map import heat_map
from raysq.report.groups import groups_of
from raysq.report.papers import TABLES
from raysq.sweep.space import Arm, Axis, Range
from tests.report.made import results, trial


def table_3(trials):
    axes = (
        Axis("lambda_var", (0, 0.001), ("critic.lambda_var", "erac.lambda_var")),
        Axis("target_rate", (0.01, 1), ("critic.target_rate", "erac.target_rate")),
    )
    made = [trial("ERAC", s, b, {"lambda_var": v, "target_rate": r}, state) for v, r, s, b, state in trials]
    return results(made, (Arm("ERAC", "erac", axes=axes),))


def test_a_heat_map_has_means_spreads_and_what_is_missing():
    found = table_3(
        [
            ("0", "0.01", 1, 50.0, "finished"),
            ("0", "0.01", 2, 9.0, "diverged"),
            ("0", "1", 1, None, "not run"),
            ("0.001", "0.01", 1, 52.0, "finished"),
            ("0.001", "0.01", 2, 54.0, "finished"),
            ("0.001", "1", 1, 51.0, "finished"),
        ]
    )
    (drawing,) = heat_map(found, groups_of(found), TABLES["dai2018-table3"])
    ours, theirs, *_ = drawing.figure.axes
    assert ours.images[0].get_array().filled(0).tolist() == [[50.0, 0.0], [53.0, 51.0]]
    assert {t.get_position(): t.get_text() for t in ours.texts} == {
        (0, 0): "50.00†",
        (1, 0): "1 not run",
        (0, 1): "53.00\n± 1.41",
        (1, 1): "51.00",
    }
    assert theirs.images[0].get_array().tolist() == [[26.27, 27.38], [29.26, 27.44]]
    assert sorted(t.get_text() for t in theirs.texts) == ["26.27†", "27.38†", "27.44", "29.26"]
    assert (ours.get_xlabel(), ours.get_ylabel()) == ("target_rate", "lambda_var")


def test_a_heat_map_names_their_column_and_draws_it_beside_its_own_task_alone():
    found = table_3([("0", "0.01", 1, 50.0, "finished")])
    (drawing,) = heat_map(found, groups_of(found), TABLES["dai2018-table3"])
    assert drawing.figure.axes[1].get_title(loc="left") == "theirs, IWSLT 2014 de-en, mean dev BLEU"
    assert drawing.caption.endswith(
        " Theirs: Dai et al. 2018, Table 3, column BLEU (IWSLT 2014 de-en, mean dev BLEU)."
    )
    found.task = "captioning"
    (drawing,) = heat_map(found, groups_of(found), TABLES["dai2018-table3"])
    assert [ax.get_title(loc="left") for ax in drawing.figure.axes if ax.images] == ["ours, captioning"]
    assert "Theirs" not in drawing.caption


def test_a_heat_map_without_the_paper_is_ours_alone():
    found = table_3([("0", "0.01", 1, 50.0, "finished")])
    (drawing,) = heat_map(found, groups_of(found), None)
    assert [ax.get_title(loc="left") for ax in drawing.figure.axes if ax.images] == ["ours, demo"]


def test_draws_of_a_search_are_no_map():
    axes = (Axis("rate", Range(1e-3, 1e-1)), Axis("weight", (0, 1)))
    found = results(
        [trial("ERAC", 1, 50.0, {"rate": "0.01", "weight": "1"})], (Arm("ERAC", "erac", axes=axes),)
    )
    assert heat_map(found, groups_of(found), None) == []
