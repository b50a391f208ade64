"""MIXER, from maximum likelihood to REINFORCE word by word (Ranzato et al. 2016, section 3.2.2).

The policy learns by likelihood; then the last words of each sentence are its own, three more of them after
every few epochs, until only the first is the reference's.
"""

import sys

from raysq.algorithms import Mixer, Mle
from raysq.recipe import Recipe, Stage
from raysq.workflow import main

RECIPE = Recipe(
    "mixer",
    stages=(
        # 1. 25 epochs of likelihood in the paper: a prefix of 25 words, which were all
        Stage("mle", Mle()),
        # 2. prefixes of 22, 19, .., 1 words
        Stage("mixer", Mixer(), policy="mle"),
    ),
    control=Stage("continued_mle", Mle(), policy="mle", like="mixer"),
    presets={
        # the payoff of the paper
        "ranzato2016": {"reward.bleu": "mixer"},
        # no learned baseline; optimiser and batches as of all of that paper's
        "tan2019": {
            "mixer.form": "erpo",
            "mixer.optimizer": "adam",
            "mixer.learning_rate": 1e-3,
            "mixer.batch_size": 64,
            "mixer.decay": 1.0,
        },
    },
)

if __name__ == "__main__":
    sys.exit(main(RECIPE, __doc__))
