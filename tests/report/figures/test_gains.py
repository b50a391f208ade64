import pytest

from raysq.report.comparisons import compare
from raysq.report.figures.gains import gains
from raysq.report.groups import groups_of
from raysq.report.papers import TABLES
from tests.report.made import results, trial


def drawn(paper, trials):
    found = results(trials, baseline="MLE")
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
    assert drawing.caption.endswith("Hatched: theirs, Dai et al. 2018, Table 1, on other data.")


def test_without_paper_there_is_nothing_of_theirs():
    drawing = drawn(None, [trial("MLE", 1, 50.0), trial("RAML", 1, 51.0)])
    assert [bar.get_width() for bar in drawing.figure.axes[0].patches] == [1.0]
    assert "theirs" not in drawing.caption


def test_nothing_to_compare_no_figure():
    assert drawn(None, [trial("MLE", 1, 50.0)]) is None
