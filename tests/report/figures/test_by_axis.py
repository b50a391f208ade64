from raysq.report.figures.by_axis import along_axis
from raysq.report.groups import groups_of
from raysq.sweep.space import Arm, Axis, Range
from tests.report.made import results, stage, trial

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


def legend_of(drawing):
    (found,) = drawing.figure.legends
    return [text.get_text() for text in found.get_texts()]


def test_an_arm_without_runs_is_in_no_legend():
    arms = (ARMS[0], Arm("AC", "ac", axes=(TAU,)), Arm("VAML", "vaml", axes=(TAU,)))
    trials = [tau("0.1", 1, 52.0), trial("VAML", 1, None, {"tau": "0.1"}, "diverged")]
    found = results([*trials, trial("AC", 1, None, {"tau": "0.1"}, "not run")], arms)
    (drawing,) = along_axis(found, groups_of(found), None)
    assert legend_of(drawing) == ["ERAC", "VAML, diverged"]


def test_runs_that_kept_their_actor_are_hollow():
    def stages(best):
        return [stage("mle"), stage("erac", ["mle"], best_update=best)]

    kept, moved = tau("0.1", 1, 52.0), tau("0.1", 2, 54.0)
    kept, moved = (
        run.model_copy(update={"stages": stages(best), "final": "erac"})
        for run, best in ((kept, 0), (moved, 10))
    )
    found = results([kept, moved], ARMS)
    (drawing,) = along_axis(found, groups_of(found), None)
    marks = [line for line in drawing.figure.axes[0].lines if line.get_linestyle() == "None"]
    assert [(list(m.get_ydata()), m.get_markerfacecolor()) for m in marks] == [
        ([52.0], "#ffffff"),
        ([54.0], "#0072b2"),
    ]
    assert drawing.caption.endswith("Hollow: a run whose best checkpoint is the actor that it began with.")
    found = results([moved], ARMS)
    assert "Hollow" not in along_axis(found, groups_of(found), None)[0].caption


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
        trial("ERAC", 1, 52.0, {"rate": "0.05", "weight": "0.75"}),
    ]
    found = results(trials, (Arm("ERAC", "erac", axes=axes),))
    rate, weight = (drawing.figure.axes[0] for drawing in along_axis(found, groups_of(found), None))
    assert points(rate) == [(0.001, 50.0), (0.05, 52.0), (0.05, 52.0)]
    assert points(weight) == [(0.25, 52.0), (0.5, 50.0), (0.75, 52.0)]
    assert (rate.get_xscale(), weight.get_xscale()) == ("log", "linear")
    assert not [line for line in rate.lines if line.get_linestyle() == "-"]  # nothing joins draws


def test_an_axis_without_results_is_not_drawn():
    found = results([tau("0.1", 1, 9.0, "diverged")], ARMS)
    assert along_axis(found, groups_of(found), None) == []
