from matplotlib.colors import to_hex

from raysq.report.figures.sweeps import along_axis, heat_map, seed_grid
from raysq.report.groups import groups_of
from raysq.report.papers import TABLES
from raysq.sweep.space import Arm, Axis, Range
from tests.report.made import grid, results, trial

TAU = Axis("tau", (0.0, 0.1, 1.0), ("critic.tau", "erac.tau"))
ARMS = (Arm("ERAC", "erac", axes=(TAU,)), Arm("MLE", "mle"))


def tau(value, seed, bleu, state="finished"):
    return trial("ERAC", seed, bleu, {"tau": value}, state)


def points(ax):
    """(place, score) of every mark that is a run."""
    return sorted(
        (float(x), float(y))
        for line in ax.lines
        if line.get_linestyle() == "None" and line.get_marker() != "x"
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    )


def test_runs_stand_at_their_values_and_lines_join_means():
    trials = [tau("0.1", 1, 52.0), tau("0.1", 2, 54.0), tau("0.0", 1, 50.0), trial("MLE", 1, 49.0)]
    trials.append(tau("1.0", 1, 9.0, "diverged"))
    found = results(trials, ARMS)
    (drawing,) = along_axis(found, groups_of(found), None)
    (ax,) = drawing.figure.axes
    assert points(ax) == [(0.0, 50.0), (1.0, 52.0), (1.0, 54.0)]
    assert [list(line.get_ydata()) for line in ax.lines if list(line.get_xdata()) == [0.0, 1.0]] == [
        [50.0, 53.0],
        [49.0, 49.0],  # MLE, across
    ]
    (cross,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert list(cross.get_xdata()) == [2.0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.0", "0.1", "1.0"]
    assert (ax.get_xlabel(), ax.get_ylabel(), drawing.key) == ("tau", "test BLEU", "by-tau")


def test_many_values_stand_to_scale():
    trials = [tau(str(k / 8), 1, 50.0 + k) for k in range(13)]
    found = results(trials, ARMS)
    (drawing,) = along_axis(found, groups_of(found), None)
    assert points(drawing.figure.axes[0])[:2] == [(0.0, 50.0), (0.125, 51.0)]


def test_what_a_search_drew_stands_to_scale_for_each_of_its_axes():
    axes = (Axis("rate", Range(1e-3, 1e-1, log=True)), Axis("weight", Range(0.0, 1.0)))
    trials = [
        trial("ERAC", 1, 50.0, {"rate": "0.001", "weight": "0.5"}),
        trial("ERAC", 1, 52.0, {"rate": "0.05", "weight": "0.25"}),
    ]
    found = results(trials, (Arm("ERAC", "erac", axes=axes),))
    rate, weight = (drawing.figure.axes[0] for drawing in along_axis(found, groups_of(found), None))
    assert points(rate) == [(0.001, 50.0), (0.05, 52.0)]
    assert points(weight) == [(0.25, 52.0), (0.5, 50.0)]
    assert (rate.get_xscale(), weight.get_xscale()) == ("log", "linear")
    assert not [line for line in rate.lines if line.get_linestyle() == "-"]  # nothing joins draws
    assert heat_map(found, groups_of(found), None) == []


def test_an_axis_without_results_is_not_drawn():
    found = results([tau("0.1", 1, 9.0, "diverged")], ARMS)
    assert along_axis(found, groups_of(found), None) == []


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


def test_a_heat_map_without_the_paper_is_ours_alone():
    found = table_3([("0", "0.01", 1, 50.0, "finished")])
    (drawing,) = heat_map(found, groups_of(found), None)
    assert [ax.get_title(loc="left") for ax in drawing.figure.axes if ax.images] == ["ours, demo"]


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
