"""RF-C, REINFORCE with a critic as baseline (Bahdanau et al. 2017, section 4).

Policy and critic are made ready as for actor-critic; then the policy learns from the return of what it drew,
less what the critic expected.
"""

import sys

from raysq.algorithms import CriticTraining, Mle, ReinforceCritic
from raysq.recipe import Recipe, Stage
from raysq.workflow import main

RECIPE = Recipe(
    "reinforce_critic",
    stages=(
        Stage("mle", Mle()),
        Stage("critic", CriticTraining(tau=0.0), policy="mle"),
        Stage("reinforce_critic", ReinforceCritic(), policy="mle", critic="critic"),
    ),
    control=Stage("continued_mle", Mle(), policy="mle", like="reinforce_critic"),
    should_agree=(
        ("critic.tau", "reinforce_critic.tau"),
        ("critic.forced_eos", "reinforce_critic.forced_eos"),
    ),
)

if __name__ == "__main__":
    sys.exit(main(RECIPE, __doc__))
