"""What a dev score does to a stage: best checkpoint, decay, return to the last accepted state, end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from raysq.algorithms import Algorithm
from raysq.training.state import Progress


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an evaluation."""

    best: bool
    """The networks are the best so far."""
    accepted: bool
    """The score was no failure."""


def judge(
    progress: Progress,
    algorithm: Algorithm,
    scoring: str,
    score: float,
    reward: float | None = None,
    *,
    fresh: bool,
    bounded: bool,
) -> Verdict:
    """Take note of a dev score at ``progress.update``; changes ``progress``.

    An equal score is no failure. A failure is answered by a decay until the algorithm is exhausted. A score
    is compared with the best one; where the algorithm restores, with the last accepted one, and after a
    decay anything is accepted once.

    Args:
        progress: of the stage.
        algorithm: says which way is up and when it is exhausted.
        scoring: how text is scored, ``decoding.scoring``.
        score: of the metric that the algorithm selects by.
        reward: mean of the policy's samples, where it is sampled.
        fresh: the stage started from a fresh policy, whose first scores are noise: no collapse is seen.
        bounded: the stage has a given number of updates: nothing but divergence ends it sooner.
    """
    name, mode = algorithm.selection_by(scoring)
    best = _no_worse(score, progress.best_score, mode)
    accepted = _no_worse(score, progress.accepted_score, mode) if algorithm.restores else best
    progress.scores.append([progress.update, score])
    if best:
        progress.best_score, progress.best_update = score, progress.update
        progress.best_evaluation = len(progress.scores)
    if accepted:
        progress.accepted_score = score
    else:
        since_best = len(progress.scores) - progress.best_evaluation
        exhausted = algorithm.exhausted(len(progress.scores), since_best, progress.decays)
        if exhausted and not bounded:
            progress.stopped_by = f"no improvement after {progress.decays} decays"
        elif progress.decays < algorithm.max_decays:
            progress.decays += 1
            progress.accepted_score = None
    collapsed = not fresh and mode == "max" and score < (progress.best_score or 0.0) / 2
    progress.collapsed = progress.collapsed + 1 if collapsed else 0
    if progress.collapsed >= 2:
        progress.diverged = True
        progress.stopped_by = f"dev {name} fell under half of its best ({progress.best_score:.2f}) twice"
    if progress.first_reward is None:
        progress.first_reward = reward
    elif not fresh and reward is not None and reward < progress.first_reward / 10:
        progress.diverged = True
        first = f"{progress.first_reward:.2f}"
        progress.stopped_by = f"dev sample_bleu is {reward:.2f}, under a tenth of its first ({first})"
    progress.evaluated = progress.update
    return Verdict(best, accepted)


def _no_worse(score: float, reference: float | None, mode: Literal["max", "min"]) -> bool:
    return reference is None or (score >= reference if mode == "max" else score <= reference)
