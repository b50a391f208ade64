from matplotlib.colors import to_hex

from raysq.report.figures.seed_grid import seed_grid
from raysq.report.groups import groups_of
from raysq.sweep.space import Arm
from tests.report.made import grid, results, trial


def test_a_grid_has_a_colour_for_each_critic():
    arms = (Arm("MLE", "mle"), Arm("ERAC", "erac", axes=grid("erac")))
    trials = [trial("MLE", s, 40.0 + s) for s in (1, 2)]
    trials += [
        trial("ERAC", 1, 50.0 + 10 * c + a, {"critic seed": str(c), "actor seed": str(a)})
        for c in (1, 2)
        for a in (1, 2, 3)
    ]
    found = results(trials, arms)
    (ax,) = seed_grid(found, groups_of(found), None).figure.axes
    runs = [line for line in ax.lines if line.get_marker() not in ("", "None")]
    assert [sorted(line.get_ydata()) for line in runs] == [[41.0, 42.0], [61, 62, 63], [71, 72, 73]]
    assert len({to_hex(line.get_color()) for line in runs}) == 3
    (medians,) = [set(line.get_ydata()) for line in ax.lines if set(line.get_ydata()) == {67.0}]
    assert medians == {67.0}  # of the six of ERAC; two runs of MLE have no box


def test_no_grid_no_boxes():
    found = results([trial("MLE", 1, 40.0)])
    assert seed_grid(found, groups_of(found), None) is None
