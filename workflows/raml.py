"""RAML, reward augmented maximum likelihood (Norouzi et al. 2016; as the baseline of Dai, Xie, Hovy 2018).

One stage from scratch: maximum likelihood of the reference and of corrupted copies, each weighted by what it
would earn. The default is Dai et al.'s; ``--preset`` takes another paper's proposal, reward and optimiser.
"""

import sys

from raysq.algorithms import Raml
from raysq.config import Scalar
from raysq.recipe import Recipe, Stage
from raysq.workflow import main

NGRAM: dict[str, Scalar] = {
    "raml.proposal.ngram.protect_last": True,
    "raml.num_samples": 10,
    "raml.optimizer": "adam",
    "raml.learning_rate": 1e-3,
    "reward.match_unknown": True,  # NLTK sees a word like any other
}
# the proposal is the target, so that its draws need no weights; it has the temperature, too
EXACT: dict[str, Scalar] = {
    "raml.keep_reference": False,
    "raml.num_samples": 10,
    "raml.weighting": "uniform",
}

RECIPE = Recipe(
    "raml",
    stages=(Stage("raml", Raml()),),
    presets={
        # as released: unk matches unk
        "dai2018": {"reward.match_unknown": True},
        # the released script's; the NLTK of its time skips an order of n-grams without a match
        "ma2017": NGRAM
        | {
            "raml.temperature": 0.6,
            "raml.batch_size": 10,
            "raml.max_decays": 5,
            "reward.bleu": "nltk_m0_32",
        },
        # a later NLTK, which gives 0 to what has no four words in a row in common with the reference
        "tan2019": NGRAM
        | {
            "raml.temperature": 0.4,
            "raml.batch_size": 64,
            "raml.max_epochs": 50,
            "reward.bleu": "nltk_m0_33",
        },
        "norouzi2016_hamming": EXACT | {"raml.proposal.name": "hamming", "reward.name": "hamming"},
        "norouzi2016_edit": EXACT | {"raml.proposal.name": "edit", "reward.name": "edit_distance"},
    },
)

if __name__ == "__main__":
    sys.exit(main(RECIPE, __doc__))
