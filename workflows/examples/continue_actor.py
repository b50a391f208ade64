"""A finished actor continued with another algorithm: MLE, then REINFORCE, then minimum risk training.

python workflows/reinforce.py --task demo
python workflows/examples/continue_actor.py --task demo      # finds the first two stages, trains the third

A stage is found again by its name, algorithm, settings, seed, data and the stages it starts from: what this
recipe has in common with workflows/reinforce.py is not trained twice.
"""

import sys

from raysq.algorithms import Mle, Mrt, Reinforce
from raysq.recipe import Recipe, Stage
from raysq.workflow import main

RECIPE = Recipe(
    "continued",
    stages=(
        Stage("mle", Mle()),
        Stage("reinforce", Reinforce(), policy="mle"),
        Stage("mrt", Mrt(num_samples=5), policy="reinforce"),
    ),
    # as many updates of likelihood from the same actor: what continuing alone would do
    control=Stage("continued_mle", Mle(), policy="reinforce", like="mrt"),
)

if __name__ == "__main__":
    sys.exit(main(RECIPE, __doc__))
