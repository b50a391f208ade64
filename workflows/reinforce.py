"""REINFORCE with a choice of baselines, from a policy that learned by maximum likelihood first.

The default is the baseline of the other samples' mean (Luo 2020); ``--preset`` takes another paper's.
"""

import sys

from raysq.algorithms import Mle, Reinforce
from raysq.recipe import Recipe, Stage
from raysq.workflow import main

RECIPE = Recipe(
    "reinforce",
    stages=(
        # 1. samples of an untrained policy earn nothing
        Stage("mle", Mle()),
        # 2. each sample is weighed by what it earns beyond the baseline
        Stage("reinforce", Reinforce(), policy="mle"),
    ),
    control=Stage("continued_mle", Mle(), policy="mle", like="reinforce"),
    presets={
        # a regression a step, on what is still to come (Bahdanau et al. 2017)
        "bahdanau2017": {
            "reinforce.baseline": "learned",
            "reinforce.num_samples": 1,
            "reinforce.learning_rate": 1e-4,
        },
        # what greedy decoding earns (Rennie et al. 2017)
        "rennie2017": {"reinforce.baseline": "greedy", "reinforce.num_samples": 1},
        # groups on a scale of their own, clipped ratios (Shao et al. 2024)
        "shao2024": {"reinforce.baseline": "group_normalised", "reinforce.ratio_clip": 0.2},
    },
)

if __name__ == "__main__":
    sys.exit(main(RECIPE, __doc__))
