"""A reward of your own: chrF (Popović 2015) of every prefix, by sacreBLEU; the policy learns by REINFORCE.

python workflows/examples/own_reward.py --task demo --reward.vocabulary runs/data-demo/vocabulary.target.txt
"""

import sys
from collections.abc import Sequence

from sacrebleu.metrics import CHRF

from raysq.algorithms import Mle, Reinforce
from raysq.recipe import Recipe, Stage
from raysq.rewards.text import TextReward
from raysq.workflow import main

METRIC = CHRF()


class Chrf(TextReward):
    """chrF2 in [0, 1] of words joined by spaces."""

    def score(self, hypothesis: str, references: Sequence[str]) -> float:
        """What a text earns."""
        return METRIC.sentence_score(hypothesis, references).score / 100


RECIPE = Recipe(
    "chrf",
    stages=(Stage("mle", Mle()), Stage("reinforce", Reinforce(), policy="mle")),
    reward=Chrf(),
)

if __name__ == "__main__":
    from own_reward import RECIPE as IMPORTED  # type: ignore[import-not-found]  # as Ray's processes find it

    sys.exit(main(IMPORTED, __doc__))
