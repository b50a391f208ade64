from raysq.report.figures.critics import calibration, gradient_noise
from raysq.report.groups import groups_of
from raysq.report.rows import Calibration
from raysq.sweep.space import Arm, Axis
from tests.report.made import results, stage, trial


def row(position, correlation, q, gain):
    bins = [(q - 0.5, gain - 0.25, 10), (q + 0.5, gain + 0.25, 10)]
    means = {"mean_q": q, "mean_return": gain}
    return Calibration(position=position, n=20, correlation=correlation, bins=bins, **means)


def test_q_beside_returns_and_both_by_position():
    critic = stage(calibration=[row(0, 0.6, 2.0, 1.0), row(1, 0.5, 1.5, 1.0), row(2, 0.7, 2.5, 3.0)])
    found = results([trial("AC", 1, 5.0, stages=[critic]), trial("MLE", 1, 5.0, stages=[stage()])])
    bins, correlation, bias = calibration(found, groups_of(found)).figure.axes
    assert bins.lines[0].get_xydata().tolist() == [[1.5, 0.75], [2.5, 1.25]]
    assert correlation.lines[0].get_xydata().tolist() == [[1, 0.5], [2, 0.7]]
    assert bias.lines[0].get_xydata().tolist() == [[1, 0.5], [2, -0.5]]
    assert len(correlation.lines) == 1  # MLE has no critic


def test_many_groups_are_all_drawn_in_rows_of_axes_alike():
    """Nine groups: five in the first row and four in the second, each with a look of its own."""
    tau = Axis("tau", tuple(k / 10 for k in range(9)), ("erac.tau",))
    trials = [
        trial(
            "ERAC",
            1,
            5.0,
            {"tau": str(value)},
            stages=[stage(calibration=[row(0, 0.5, k, k), row(1, 0.5, k, k)])],
        )
        for k, value in enumerate(tau.values)
    ]
    found = results(trials, (Arm("ERAC", "erac", axes=(tau,)),))
    drawing = calibration(found, groups_of(found))
    axes = drawing.figure.axes
    assert [len(ax.lines) for ax in axes] == [6, 5, 6, 5, 4, 5]  # with the dotted ones, left and right
    assert axes[0].get_ylim() == axes[3].get_ylim() != axes[1].get_ylim()
    assert len({line.get_color() for ax in (axes[1], axes[4]) for line in ax.lines}) == 9
    (legend,) = drawing.figure.legends
    assert len(legend.get_texts()) == 9
    assert drawing.caption.endswith("9 groups in 2 rows, in the order of the legend, axes alike.")


def test_noise_at_the_start_is_open_and_at_the_best_checkpoint_filled():
    noise = {"first": {"relative": 2.0}, "best": {"relative": 3.0, "without_mle": {"relative": 30.0}}}
    hidden = {"first": None, "best": {"relative": None}}
    still = {"first": None, "best": {"relative": 0.0}}
    trials = [trial("AC", 1, 5.0, stages=[stage(gradient_noise=noise)])]
    trials += [trial("AC", 2, 5.0, stages=[stage(gradient_noise=hidden)])]
    trials += [trial("MLE", 1, 5.0, stages=[stage(gradient_noise=still)])]
    found = results(trials)
    (ax,) = gradient_noise(found, groups_of(found)).figure.axes
    marks = [
        (list(line.get_xdata()), line.get_markerfacecolor()) for line in ax.lines if len(line.get_xdata())
    ]
    assert marks == [([2.0], "none"), ([30.0], "#4ca6dc")]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["AC", "MLE"]
    assert ax.get_xscale() == "log"


def test_nothing_measured_no_figures():
    found = results([trial("MLE", 1, 5.0, stages=[stage()])])
    assert calibration(found, groups_of(found)) is gradient_noise(found, groups_of(found)) is None
