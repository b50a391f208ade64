"""An algorithm of your own: likelihood of the best of N samples of the policy, from its MLE actor.

python workflows/examples/own_algorithm.py --task demo

Minimises -sum_t log pi(y^_t | y^_{<t}, x), y^ the sample of highest payoff R(y) among y_1 .. y_N ~ pi.
"""

import sys

from pydantic import Field
from torch.nn.functional import one_hot

from raysq.algorithms import Mle, Networks
from raysq.algorithms.mle import mle_objective
from raysq.algorithms.moment import Moment
from raysq.algorithms.on_policy import OnPolicy, sample_metrics
from raysq.recipe import Recipe, Stage
from raysq.rewards import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Samples
from raysq.workflow import main


class BestOfN(OnPolicy):
    """Likelihood of the best of 5 samples a sentence, Adam 5e-5."""

    learning_rate: float = Field(5e-5, gt=0)
    """Learning rate."""
    num_samples: int = Field(5, ge=2)
    """Sequences drawn for each sentence; one of them is learnt from."""

    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        moment: Moment,
    ) -> tuple[list[Objective], MetricSums]:
        """One term; which sequences are drawn is the base's: the policy's own."""
        assert rewards is not None
        payoffs = rewards.result().sequence.view(-1, self.num_samples)
        weights = one_hot(payoffs.argmax(1), self.num_samples).flatten().to(payoffs.dtype)
        objective = mle_objective(batch, samples, networks, moment, weights=weights)
        best = {"best_payoff": (payoffs.amax(1).sum().item(), float(len(payoffs)))}
        return [objective], sample_metrics(samples, payoffs.flatten()) | best


RECIPE = Recipe(
    "best_of_n",
    stages=(Stage("mle", Mle()), Stage("best_of_n", BestOfN(), policy="mle")),
    control=Stage("continued_mle", Mle(), policy="mle", like="best_of_n"),
)

if __name__ == "__main__":
    from own_algorithm import RECIPE as IMPORTED  # type: ignore[import-not-found]  # as Ray finds it

    sys.exit(main(IMPORTED, __doc__))
