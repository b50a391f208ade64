"""SPG, softmax policy gradient (Ding and Soricut 2017): likelihood of what the reward helped to draw.

Bang-bang rewarded: at every token either the policy draws alone, or the reward decides and the policy draws
among the words that earn as much. One stage from scratch, since the reward finds the way without a
pre-trained policy.
"""

import sys

from raysq.algorithms import Spg
from raysq.recipe import Recipe, Stage
from raysq.workflow import main

RECIPE = Recipe("spg", stages=(Stage("spg", Spg()),))

if __name__ == "__main__":
    sys.exit(main(RECIPE, __doc__))
