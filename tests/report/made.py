"""Trials made by hand for the tests of the report."""

from raysq.report.rows import Evaluation, SpaceResults, StageRow, TrialRow
from raysq.sweep.space import Arm, Axis, Space

REFERENCES = ["the cat sat on the mat .", "a dog runs in the park today .", "we go home now , my friend ."]
DATA = "d" * 64


def trial(arm="MLE", seed=1, bleu=None, values=None, state="finished", **given):
    """A trial; without a score it has none."""
    scores = {} if bleu is None else {"bleu": bleu}
    row = {"arm": arm, "seed": seed, "values": values or {}, "state": state, "data": DATA, "final": "mle"}
    return TrialRow(**{**row, "dev": scores, "test": scores, **given})


def stage(name="mle", after=(), updates=10, seconds=60.0, reward_calls=0, scores=(), **given):
    """A finished stage; ``scores``: (update, seconds, reward calls, dev BLEU)."""
    curve = [
        Evaluation(update=u, seconds=s, reward_calls=calls, scores={"bleu": bleu})
        for u, s, calls, bleu in scores
    ]
    row = {"name": name, "algorithm": name.title(), "state": "finished", "after": list(after)}
    row |= {"updates": updates, "best_update": updates, "seconds": seconds, "reward_calls": reward_calls}
    return StageRow(**{**row, "curve": curve, **given})


def results(trials, arms=None, references=None, **space):
    """The results of a space with these arms (default: those of the trials)."""
    arms = arms or tuple(Arm(label, "mle") for label in dict.fromkeys(t.arm for t in trials))
    seeds = tuple(sorted({t.seed for t in trials}))
    made = Space(**{"name": "small", "title": "A small space", "arms": arms, "seeds": seeds, **space})
    return SpaceResults(made, "demo", "by hand", list(trials), references)


def grid(stage_name):
    """Two axes of seeds, the critic's first."""
    return (
        Axis("critic seed", (1, 2), ("critic.seed",)),
        Axis("actor seed", (1, 2), (f"{stage_name}.seed",)),
    )
