"""Interpolation (Tan et al. 2019, section 4): every token from the reference, the reward or the policy.

One stage from scratch: it begins next to maximum likelihood, 96 tokens of 100 the reference's. Whenever dev
BLEU falls, it goes back to the last good state and on with a mixture that explores more.
"""

import sys

from raysq.algorithms import Interpolation
from raysq.recipe import Recipe, Stage
from raysq.workflow import main

RECIPE = Recipe(
    "interpolation",
    stages=(Stage("interpolation", Interpolation()),),
    presets={
        # as the released code draws: the reward's draws are then near uniform noise (see ``reward_entropy``)
        "tan2019_released": {
            "interpolation.reward_factor": 1.0,
            "interpolation.per_step_z": True,
            "interpolation.force_first_token": True,
            "interpolation.repetition_penalty": 0.0,
        }
    },
)

if __name__ == "__main__":
    sys.exit(main(RECIPE, __doc__))
