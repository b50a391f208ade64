"""VAML, value augmented maximum likelihood (Dai, Xie, Hovy 2018, section 4.1).

An oracle, which reads the reference, learns by soft Q-learning what every next word is worth; then a student
learns from scratch, by maximum likelihood on noisy references, with the oracle's distribution over the next
word in place of some of their words.
"""

import sys

from raysq.algorithms import SoftQ, Vaml
from raysq.recipe import Recipe, Stage
from raysq.workflow import main

RECIPE = Recipe(
    "vaml",
    stages=(
        # 1. the optimal soft Q is what a model trained by RAML would need at every token: it is learnt first
        Stage("oracle", SoftQ(tau=0.4)),
        # 2. and stands still while the student, which does not see the reference, learns from it
        Stage("vaml", Vaml(tau=0.4, vaml_coeff=0.2), critic="oracle"),
    ),
    must_agree=(("oracle.tau", "vaml.tau"),),
    presets={
        # as released: unk matches unk
        "dai2018": {"reward.match_unknown": True},
    },
)

if __name__ == "__main__":
    sys.exit(main(RECIPE, __doc__))
