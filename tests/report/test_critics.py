from raysq.report.critics import calibration_table, noise_table
from raysq.report.groups import groups_of
from raysq.report.rows import Calibration
from tests.report.made import results, stage, trial


def calibrated(correlation, q=1.0, position=0):
    row = {"position": position, "n": 40, "mean_q": q, "mean_return": 0.5, "correlation": correlation}
    return Calibration(**row, bins=[(q, 0.5, 40)])


def noise(relative, variance=2.0):
    """As measured: where the noise hides the mean there is no ratio, and the squared mean is not above 0."""
    squared = -0.5 if relative is None else variance / relative
    return {"variance": variance, "mean_squared_norm": squared, "relative": relative, "draws": 16}


def texts(tables):
    (table,) = tables
    return [[cell.text for cell in row] for row in table.rows]


def test_critics_of_every_stage_before_and_after():
    def stages(before, after):
        return [
            stage("mle"),
            stage("critic", ["mle"], calibration=[calibrated(0.1, position=1), calibrated(before, 2.0)]),
            stage("erac", ["mle", "critic"], calibration=[calibrated(after)]),
        ]

    trials = [trial("ERAC", 1, 5.0, stages=stages(0.5, 0.7), final="erac")]
    trials += [trial("ERAC", 2, 5.0, stages=stages(0.7, 0.8), final="erac"), trial("MLE", 1, 5.0)]
    found = results(trials)
    assert texts(calibration_table(found, groups_of(found))) == [
        ["ERAC", "critic", "0.600", "2.000", "0.500", "2"],
        ["ERAC", "erac", "0.750", "1.000", "0.500", "2"],
    ]


def test_noise_without_the_term_that_joint_training_mixes_in():
    joint = {**noise(2.0), "without_mle": noise(9.0)}
    found = results([trial("AC", 1, 5.0, stages=[stage(gradient_noise={"first": None, "best": joint})])])
    assert texts(noise_table(found, groups_of(found))) == [["AC", "–", "–", "–", "2.000", "2.000", "9.000"]]


def test_noise_that_hides_the_mean_in_one_run_counts():
    """Variances 2 and 2 over squared means 1 and -0.5: a ratio of 8, and not the 2 of the clear run."""
    trials = [
        trial("AC", s, 5.0, stages=[stage(gradient_noise={"first": noise(first), "best": noise(4.0)})])
        for s, first in ((1, 2.0), (2, None))
    ]
    trials.append(trial("MLE", 1, 5.0, stages=[stage(gradient_noise={"first": None, "best": noise(None)})]))
    found = results(trials)
    assert texts(noise_table(found, groups_of(found))) == [
        ["AC", "2.000", "8.000", "8.000", "2.000", "4.000", "4.000"],
        ["MLE", "–", "–", "–", "2.000", "–", "–"],
    ]


def test_nothing_measured_makes_no_table():
    found = results([trial("MLE", 1, 5.0, stages=[stage()])])
    assert calibration_table(found, groups_of(found)) == noise_table(found, groups_of(found)) == []
