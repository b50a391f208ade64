"""alpha-DiMT: training by the alpha-divergence between RAML and policy gradient (Koyamada et al. 2017).

One stage from scratch: likelihood of corrupted references, weighted by what they earn and by how likely the
policy finds them itself. Its table has greedy decoding of dev, by which it is selected, greedy decoding of
test, and beam search with 10 hypotheses: ``greedy_bleu`` and ``bleu`` of result.json.
"""

import sys

from raysq.algorithms import AlphaDimt
from raysq.config import DecodingConfig
from raysq.recipe import Recipe, Stage
from raysq.rewards.settings import RewardSettings
from raysq.workflow import main

RECIPE = Recipe(
    "alpha_dimt",
    stages=(Stage("alpha_dimt", AlphaDimt()),),
    # minus the number of words replaced: an unk that still stands was not
    reward=RewardSettings(name="hamming", match_unknown=True),
    decoding=DecodingConfig(beam_size=10),
    presets={
        "koyamada2017_released": {
            "alpha_dimt.num_samples": 1,
            "alpha_dimt.normalise_over": "batch",
            "alpha_dimt.p_norm": "length",
            "alpha_dimt.q0_correction": False,
        },
    },
)

if __name__ == "__main__":
    sys.exit(main(RECIPE, __doc__))
