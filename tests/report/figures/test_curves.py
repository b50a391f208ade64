from pathlib import Path

import pytest

from raysq.config import as_typed
from raysq.report.figures.curves import _COSTS, convergence, curve
from raysq.report.groups import groups_of
from raysq.report.rows import SpaceResults
from raysq.sweep.space import trials
from tests.report.made import results, stage, trial
from workflows.tune import space_named

UPDATES, TIME, CALLS = _COSTS


def erac(seed, scores, mle_seconds=60.0):
    stages = [
        stage("mle", updates=100, seconds=mle_seconds),
        stage("critic", ["mle"], updates=40, seconds=30.0, reward_calls=1000),
        stage("erac", ["mle", "critic"], updates=50, seconds=30.0, reward_calls=500, scores=scores),
    ]
    return trial("ERAC", seed, 50.0, stages=stages, final="erac")


def group(*trials):
    (found,) = groups_of(results(trials))
    return found


def test_a_curve_begins_where_the_stages_before_it_ended():
    found = group(erac(1, [(0, 0.0, 0, 40.0), (50, 30.0, 500, 45.0)]))
    assert curve(found, "bleu", UPDATES).x == [140, 190]
    assert curve(found, "bleu", TIME).x == [1.5, 2.0]
    assert curve(found, "bleu", CALLS).x == [1000, 1500]
    assert curve(found, "bleu", UPDATES).mean == [40.0, 45.0]


def test_means_and_bands_over_the_evaluations_that_runs_share():
    one = erac(1, [(0, 0.0, 0, 40.0), (50, 30.0, 500, 45.0), (70, 40.0, 700, 60.0)])
    two = erac(2, [(0, 0.0, 0, 42.0), (50, 60.0, 500, 43.0)], mle_seconds=120.0)
    found = curve(group(one, two, trial("ERAC", 3, state="diverged")), "bleu", TIME)
    assert found.tails == [([2.0, 2.0 + 10 / 60], [45.0, 60.0])]  # of the first, from where the second ended
    assert (found.end, found.top) == (2.75, 60.0)
    assert found.x == [2.0, 2.75]  # means of 1.5 and 2.5, and of 2.0 and 3.5
    assert (found.mean, found.lowest, found.highest) == ([41.0, 44.0], [40.0, 43.0], [42.0, 45.0])


def test_no_curve_without_costs_or_scores():
    assert curve(group(erac(1, [(0, None, None, 40.0)])), "bleu", TIME) is None
    assert curve(group(erac(1, [(0, 1.0, 0, 40.0)])), "rouge_l", UPDATES) is None
    assert curve(group(trial("ERAC", 1, state="failed")), "bleu", UPDATES) is None
    unknown = erac(1, [(0, 1.0, 0, 40.0)])
    unknown.stages[1].reward_calls = None
    assert curve(group(unknown), "bleu", CALLS) is None


def drawn(*trials):
    found = results(trials)
    return convergence(found, groups_of(found)).figure.axes


def mle(seed=1, updates=100, calls=0.0):
    points = [(10, 6.0, calls / 10, 5.0), (updates, 60.0, calls, 48.0)]
    return trial("MLE", seed, 48.0, stages=[stage("mle", scores=points)], final="mle")


def test_a_panel_for_each_cost_and_a_dotted_line_for_what_costs_nothing():
    updates, time, calls = drawn(mle(), erac(1, [(0, 0.0, 0, 40.0), (50, 30.0, 500, 45.0)]))
    assert [list(line.get_xdata()) for line in updates.lines] == [[10, 100], [140, 190]]
    assert [list(line.get_ydata()) for line in time.lines] == [[5.0, 48.0], [40.0, 45.0]]
    free, paid = calls.lines
    assert (free.get_linestyle(), list(free.get_ydata())) == (":", [48.0, 48.0])
    assert list(paid.get_xdata()) == [1000, 1500]
    assert updates.get_xlabel() == "updates"
    assert time.get_xlabel() == "training time [min]"


def test_what_goes_on_after_the_shortest_run_is_thin():
    long, short = (
        erac(1, [(0, 0, 0, 40.0), (50, 1, 5, 45.0), (70, 2, 7, 60.0)]),
        erac(2, [(0, 0, 0, 40.0), (50, 1, 5, 43.0)]),
    )
    found = results([long, short])
    drawing = convergence(found, groups_of(found))
    mean, tail = drawing.figure.axes[0].lines
    assert (list(mean.get_ydata()), list(tail.get_ydata())) == ([40.0, 44.0], [45.0, 60.0])
    assert tail.get_linewidth() < mean.get_linewidth()
    assert drawing.figure.axes[0].get_ylim()[1] > 60.0
    assert drawing.caption.endswith("thin lines are the runs that go on.")
    found = results([short])
    assert "thin lines" not in convergence(found, groups_of(found)).caption


SPACES = sorted(path.stem for path in Path("tune_spaces").glob("[!_]*.py"))


@pytest.mark.parametrize("name", SPACES)
def test_everything_of_a_shipped_space_lies_inside_the_figure(name):
    """Legend and labels of each space, and no two of its groups look alike."""
    space = space_named(name)
    made = [
        erac(t.seed, [(0, 0.0, 0, 40.0), (500_000, 9000.0, 9_000_000, 45.0 + k / 100)]).model_copy(
            update={"arm": t.arm.label, "values": {axis: as_typed(v) for axis, v in t.values.items()}}
        )
        for k, t in enumerate(trials(space, seeds=(1,), num_samples=6))
    ]
    found = SpaceResults(space, "demo", "by hand", made)
    groups = groups_of(found)
    figure = convergence(found, groups).figure
    figure.draw_without_rendering()
    shown = [*figure.legends, *(axis.label for ax in figure.axes for axis in (ax.xaxis, ax.yaxis))]
    for box in (part.get_window_extent() for part in shown):
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1
    assert len(figure.legends[0].get_texts()) == len(groups)
    lines = [line for line in figure.axes[0].lines if not line.get_label().startswith("_")]
    assert len({(line.get_color(), line.get_linestyle(), line.get_marker()) for line in lines}) == len(groups)


def test_costs_far_apart_are_drawn_by_their_logarithm():
    assert drawn(mle(), mle_like("RAML", 2000))[0].get_xscale() == "log"
    assert drawn(mle(), mle_like("RAML", 900))[0].get_xscale() == "linear"


def mle_like(arm, updates):
    return mle(updates=updates).model_copy(update={"arm": arm})


def test_a_crowd_that_ends_close_together_is_shown_again():
    def ends_at(arm, end):
        scores = [(10, 1.0, 0, 5.0), (20, 2.0, 0, end)]
        return trial(arm, 1, end, stages=[stage("mle", scores=scores)])

    crowd = [ends_at(str(k), 48.0 + k / 10) for k in range(6)]
    axes = drawn(*crowd, ends_at("SPG", 10.0))
    bottoms = [ax.get_ylim()[0] for ax in axes]
    assert len(axes) == 6
    assert bottoms[0] < 10.0
    assert 46.0 < bottoms[3] < 48.0
    assert len(drawn(*crowd)) == 3
    assert len(drawn(*(ends_at(str(k), 10.0 * k) for k in range(1, 9)))) == 3


def test_no_curves_no_figure():
    found = results([trial("MLE", 1, 5.0)])
    assert convergence(found, groups_of(found)) is None


@pytest.mark.parametrize("count", [1, 3])
def test_bands_reach_from_the_lowest_to_the_highest_run(count):
    trials = [erac(s, [(0, 0.0, 0, 40.0 + s), (50, 30.0, 500, 45.0)]) for s in range(count)]
    band = drawn(*trials)[0].collections[0].get_paths()[0].vertices
    assert {y for x, y in band if x == 140} == {40.0, 40.0 + count - 1}
