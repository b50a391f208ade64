"""Data noising (Xie et al. 2017; Tan et al. 2019, section 3.5): likelihood of references with random words.

One stage from scratch. Words are replaced as often as ``rate`` says by draws from the training unigrams.
"""

import sys

from raysq.algorithms import Noising
from raysq.recipe import Recipe, Stage
from raysq.workflow import main

RECIPE = Recipe("noising", stages=(Stage("noising", Noising()),))

if __name__ == "__main__":
    sys.exit(main(RECIPE, __doc__))
