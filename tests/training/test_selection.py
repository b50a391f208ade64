"""Dev scores by hand, step by step."""

from typing import ClassVar

import pytest

from raysq.algorithms import CriticTraining, Mle
from raysq.training.selection import Verdict, judge
from raysq.training.state import Progress


class Restoring(Mle):
    """An algorithm whose failures take it back."""

    restores: ClassVar[bool] = True


class Patient(Mle):
    """Ends two evaluations after its best one, but not before the fourth."""

    def exhausted(self, evaluations: int, since_best: int, decays: int) -> bool:
        return evaluations >= 4 and since_best >= 2


def judged(
    algorithm: Mle | CriticTraining,
    scores: list[float],
    rewards: list[float] | None = None,
    *,
    fresh: bool = False,
    bounded: bool = False,
) -> tuple[Progress, list[Verdict]]:
    """Evaluations after 0, 10, 20 .. updates."""
    progress, verdicts = Progress(), []
    for index, score in enumerate(scores):
        progress.update = 10 * index
        reward = rewards[index] if rewards else None
        verdicts.append(judge(progress, algorithm, "bleu", score, reward, fresh=fresh, bounded=bounded))
    return progress, verdicts


def test_best_and_decays() -> None:
    progress, verdicts = judged(Mle(), [30.0, 29.0, 30.0, 31.0, 30.5])
    assert [v.best for v in verdicts] == [True, False, True, True, False]  # an equal score is the best one
    assert (progress.best_score, progress.best_update, progress.best_evaluation) == (31.0, 30, 4)
    assert (progress.decays, progress.stopped_by, progress.evaluated) == (2, "", 40)
    assert progress.scores == [[0, 30.0], [10, 29.0], [20, 30.0], [30, 31.0], [40, 30.5]]


def test_lower_is_better_where_the_algorithm_says_so() -> None:
    progress, verdicts = judged(CriticTraining(), [0.5, 0.6, 0.4])
    assert [v.best for v in verdicts] == [True, False, True]
    assert progress.best_score == 0.4
    assert progress.collapsed == 0


def test_the_failure_after_the_last_decay_ends() -> None:
    progress, _ = judged(Mle(max_decays=2), [30.0, 29.0, 29.0])
    assert (progress.decays, progress.stopped_by) == (2, "")
    progress, _ = judged(Mle(max_decays=2), [30.0, 29.0, 29.0, 29.0])
    assert progress.stopped_by == "no improvement after 2 decays"
    assert not progress.diverged


def test_nothing_ends_a_stage_of_given_length() -> None:
    progress, _ = judged(Mle(max_decays=2), [30.0] + 9 * [29.0], bounded=True)
    assert (progress.decays, progress.stopped_by) == (2, "")


def test_a_restoring_algorithm_compares_with_the_last_accepted_score() -> None:
    """30 29 fails, 20 is accepted because anything is after a decay, 25 beats it though 30 is the best."""
    progress, verdicts = judged(Restoring(), [30.0, 29.0, 20.0, 25.0, 24.0, 40.0])
    assert [v.accepted for v in verdicts] == [True, False, True, True, False, True]
    assert [v.best for v in verdicts] == [True, False, False, False, False, True]
    assert (progress.decays, progress.accepted_score) == (2, 40.0)


def test_others_never_accept_less_than_the_best() -> None:
    _, verdicts = judged(Mle(), [30.0, 29.0, 20.0, 25.0])
    assert [v.accepted for v in verdicts] == [True, False, False, False]


def test_an_algorithm_may_end_by_its_own_rule() -> None:
    progress, _ = judged(Patient(max_decays=1), [30.0, 29.0, 29.0])
    assert (progress.stopped_by, progress.decays) == ("", 1)  # decays stop, the stage goes on
    progress, _ = judged(Patient(max_decays=1), [30.0, 29.0, 31.0, 30.0, 30.0])
    assert progress.stopped_by.startswith("no improvement")


@pytest.mark.parametrize(("fresh", "diverged"), [(False, True), (True, False)])
def test_a_collapse_is_two_scores_under_half_of_the_best(fresh: bool, diverged: bool) -> None:
    progress, _ = judged(Mle(), [30.0, 14.9, 15.0, 14.9], fresh=fresh)
    assert not progress.diverged  # never two in a row
    progress, _ = judged(Mle(), [30.0, 14.9, 14.8], fresh=fresh)
    assert progress.diverged is diverged
    if diverged:
        assert progress.stopped_by == "dev bleu fell under half of its best (30.00) twice"


@pytest.mark.parametrize(("fresh", "diverged"), [(False, True), (True, False)])
def test_a_reward_collapse_is_under_a_tenth_of_the_first(fresh: bool, diverged: bool) -> None:
    """Whatever the score says; of a policy that has just begun the first samples say nothing."""
    progress, _ = judged(Mle(), [30.0, 31.0, 32.0], [20.0, 40.0, 2.0], fresh=fresh)
    assert not progress.diverged
    progress, verdicts = judged(Mle(), [30.0, 31.0, 32.0], [20.0, 40.0, 1.99], fresh=fresh)
    assert progress.diverged is diverged
    assert verdicts[-1].best
    if diverged:
        assert progress.stopped_by == "dev sample_bleu is 1.99, under a tenth of its first (20.00)"


def test_a_segment_has_a_first_reward_of_its_own() -> None:
    progress, _ = judged(Mle(), [30.0], [20.0])
    progress.begin_segment()
    judge(progress, Mle(), "bleu", 3.0, 1.0, fresh=False, bounded=False)
    assert (progress.first_reward, progress.diverged) == (1.0, False)
