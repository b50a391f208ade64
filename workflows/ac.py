"""AC, actor-critic without entropy: ERAC at tau = 0, in the critic's target and in the actor's gradient."""

import sys

from raysq.algorithms import ActorCritic, CriticTraining, Mle
from raysq.recipe import Recipe, Stage
from raysq.workflow import main

RECIPE = Recipe(
    "ac",
    stages=(
        Stage("mle", Mle()),
        Stage("critic", CriticTraining(tau=0.0), policy="mle"),
        Stage("ac", ActorCritic(tau=0.0), policy="mle", critic="critic"),
    ),
    control=Stage("continued_mle", Mle(), policy="mle", like="ac"),
    should_agree=(("critic.tau", "ac.tau"), ("critic.forced_eos", "ac.forced_eos")),
    presets={
        # as released
        "dai2018": {
            "reward.match_unknown": True,
            "critic.forced_eos": "unrestricted",
            "ac.forced_eos": "unrestricted",
        },
    },
)

if __name__ == "__main__":
    sys.exit(main(RECIPE, __doc__))
