"""MRT, minimum risk training (Shen et al. 2016).

From the policy of maximum likelihood, each update draws a set of candidates for every sentence and moves
probability within the set to those that earn more.
"""

import sys

from raysq.algorithms import Mle, Mrt
from raysq.recipe import Recipe, Stage
from raysq.rewards.settings import RewardSettings
from raysq.workflow import main

RECIPE = Recipe(
    "mrt",
    stages=(
        Stage("mle", Mle()),
        Stage("mrt", Mrt(), policy="mle"),
    ),
    control=Stage("continued_mle", Mle(), policy="mle", like="mrt"),
    # BLEU smoothed from pairs of words on, as Shen et al. score candidates
    reward=RewardSettings(bleu="lin_och_n2"),
)

if __name__ == "__main__":
    sys.exit(main(RECIPE, __doc__))
