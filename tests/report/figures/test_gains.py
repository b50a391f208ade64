import pytest
from matplotlib.colors import to_hex

from raysq.report.comparisons import compare
from raysq.report.figures.gains import gains
from raysq.report.groups import groups_of
from raysq.report.papers import TABLES
from raysq.sweep.space import Arm, Axis
from tests.report.made import results, stage, trial


def drawn(paper, trials, task="demo", arms=None):
    found = results(trials, arms, baseline="MLE")
    found.task = task
    return gains(found, compare(found, groups_of(found)), paper)


def test_bars_are_mean_gains_and_the_papers_stand_beside_them():
    """RAML gains 27.74 - 27.01 in the paper; MRT is not in it."""
    trials = [trial("MLE", s, 50.0) for s in (1, 2)] + [trial("MRT", s, 49.0) for s in (1, 2)]
    trials += [trial("RAML", 1, 51.0), trial("RAML", 2, 53.0)]
    drawing = drawn(TABLES["dai2018-table1"], trials)
    (ax,) = drawing.figure.axes
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([-1.0, 2.0, 0.73])
    assert [bar.get_hatch() for bar in ax.patches] == [None, None, "////"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["MRT", "RAML"]
    strokes = [sorted(line.get_xdata()) for line in ax.lines if line.get_marker() == "|"]
    assert strokes == [[-1.0, -1.0], [1.0, 3.0]]
    intervals = [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "None"]
    assert intervals[1] == pytest.approx([2 - 12.7062047, 2 + 12.7062047])  # t with one degree of freedom
    assert ax.get_xlim()[0] > -2.0  # the interval is cut, the gains are not
    assert drawing.caption.endswith(
        " Hatched: theirs, Dai et al. 2018, Table 1, column without input feeding "
        "(IWSLT 2014 de-en, test BLEU)."
    )


def hatched(drawing):
    return [bar.get_width() for bar in drawing.figure.axes[0].patches if bar.get_hatch()]


def test_theirs_is_the_column_of_the_task():
    """AC and ERAC gain 1.36 and 1.90 on MSCOCO, 1.03 and 1.29 on IWSLT; no headlines are in the table."""
    trials = [trial(arm, 1, bleu) for arm, bleu in (("MLE", 20.0), ("AC", 21.0), ("ERAC", 21.5))]
    captions = drawn(TABLES["dai2018-table1"], trials, "captioning")
    assert hatched(captions) == pytest.approx([1.36, 1.90])
    assert captions.caption.endswith("Table 1, column captioning (MSCOCO, test BLEU-4).")
    assert hatched(drawn(TABLES["dai2018-table1"], trials, "demo")) == pytest.approx([1.03, 1.29])
    headlines = drawn(TABLES["dai2018-table1"], trials, "headline")
    assert hatched(headlines) == []
    assert "theirs" not in headlines.caption


def test_theirs_is_the_column_of_the_settings():
    """ERAC gains 29.31 - 28.06 with input feeding, which an arm may fix or vary."""
    trials = [trial("MLE", 1, 20.0), trial("ERAC", 1, 21.0)]
    fed = {"network.input_feeding": True}
    both = (Arm("MLE", "mle", fed), Arm("ERAC", "erac", fed))
    assert hatched(drawn(TABLES["dai2018-table1"], trials, arms=both)) == pytest.approx([1.25])
    one = (Arm("MLE", "mle"), Arm("ERAC", "erac", fed))
    assert hatched(drawn(TABLES["dai2018-table1"], trials, arms=one)) == []  # of two columns
    axes = (Axis("feeding", (False, True), ("network.input_feeding",)),)
    trials = [trial(a, 1, 20.0, {"feeding": v}) for a in ("MLE", "ERAC") for v in ("false", "true")]
    varied = drawn(
        TABLES["dai2018-table1"], trials, arms=(Arm("MLE", "mle", axes=axes), Arm("ERAC", "erac", axes=axes))
    )
    assert hatched(varied) == pytest.approx([1.29, 1.25])
    assert "column without input feeding (" in varied.caption
    assert "and with input feeding (" in varied.caption


def test_a_bar_is_hollow_where_every_run_kept_its_actor():
    def runs(arm, *best):
        stages = [[stage("mle"), stage("ac", ["mle"], best_update=update)] for update in best]
        return [trial(arm, s, 21.0, stages=of, final="ac") for s, of in enumerate(stages, 1)]

    mle = [trial("MLE", s, 20.0) for s in (1, 2)]
    drawing = drawn(None, [*mle, *runs("AC", 0, 0), *runs("ERAC", 0, 10)])
    assert [to_hex(bar.get_facecolor(), keep_alpha=True) for bar in drawing.figure.axes[0].patches] == [
        "#00000000",
        "#0072b2ff",
    ]
    assert "Hollow bars: the best checkpoint of every run is the actor" in drawing.caption
    assert "Hollow" not in drawn(None, [*mle, *runs("ERAC", 0, 10)]).caption


def test_without_paper_there_is_nothing_of_theirs():
    drawing = drawn(None, [trial("MLE", 1, 50.0), trial("RAML", 1, 51.0)])
    assert [bar.get_width() for bar in drawing.figure.axes[0].patches] == [1.0]
    assert "theirs" not in drawing.caption


def test_nothing_to_compare_no_figure():
    assert drawn(None, [trial("MLE", 1, 50.0)]) is None
