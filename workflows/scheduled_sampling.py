"""Scheduled sampling (Bengio et al. 2015): the reference is learned after ever more words of one's own.

One stage from scratch (Tan et al. 2019, appendix C.2): the first updates are maximum likelihood.
"""

import sys

from raysq.algorithms import ScheduledSampling
from raysq.recipe import Recipe, Stage
from raysq.workflow import main

RECIPE = Recipe("scheduled_sampling", stages=(Stage("scheduled_sampling", ScheduledSampling()),))

if __name__ == "__main__":
    sys.exit(main(RECIPE, __doc__))
