"""ERAC, entropy-regularised actor-critic (Dai, Xie, Hovy 2018, section 4.2).

The actor learns by maximum likelihood; a critic, which reads the reference, learns to predict what the
frozen actor will earn; then both learn together, the actor from the critic's value of every word.
"""

import sys

from raysq.algorithms import ActorCritic, CriticTraining, Mle
from raysq.recipe import Recipe, Stage
from raysq.workflow import main

RECIPE = Recipe(
    "erac",
    stages=(
        # 1. "we find it necessary to first pre-train the actor using MLE"
        Stage("mle", Mle()),
        # 2. "and then pre-train the critic before the actor-critic training"
        Stage("critic", CriticTraining(tau=0.045), policy="mle"),
        # 3. the critic evaluates the current policy while the policy ascends Eq. 20, with some MLE beside it
        Stage("erac", ActorCritic(tau=0.045, lambda_mle=0.1), policy="mle", critic="critic"),
    ),
    control=Stage("continued_mle", Mle(), policy="mle", like="erac"),
    should_agree=(("critic.tau", "erac.tau"), ("critic.forced_eos", "erac.forced_eos")),
    presets={
        # as released
        "dai2018": {
            "reward.match_unknown": True,
            "critic.forced_eos": "unrestricted",
            "erac.forced_eos": "unrestricted",
            "erac.entropy_gradient": "normalised",
        },
        # the ablation of their Table 4: no entropy in the critic's target, in both stages
        "without_future_entropy": {"critic.tau": 0.0, "erac.future_entropy": False},
    },
)

if __name__ == "__main__":
    sys.exit(main(RECIPE, __doc__))
