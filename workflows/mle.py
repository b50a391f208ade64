"""Maximum likelihood: the actor that every other algorithm starts from or is compared with."""

import sys

from raysq.algorithms import Mle
from raysq.recipe import Recipe, Stage
from raysq.workflow import main

RECIPE = Recipe("mle", stages=(Stage("mle", Mle()),))

if __name__ == "__main__":
    sys.exit(main(RECIPE, __doc__))
