"""RF-C, REINFORCE with a critic as its baseline (Bahdanau et al. 2017, section 4).

The critic is trained as in actor-critic (``raysq.algorithms.erac``); the policy learns from the tokens that
were drawn instead of from all words. It minimises, per sentence,

    -sum_t (G_t - V(s_t)) log pi(y_t | s_t) - tau sum_t H(pi(. | s_t)),   V(s) = sum_w pi(w | s) Q(s, w)

with the Monte-Carlo return G_t = r_t + sum_{k > t} (r_k - tau log pi(y_k)), whose mean is Q(s_t, y_t): the
entropy of the step itself is in the second term, that of later steps in the return (Dai et al. 2018 Eqs. 19
and 20). The online critic is held constant; a wrong one costs variance and no bias. Samples of a stale policy
(max_staleness) do cost bias: they are not reweighted.

Limits: Q = 0 is REINFORCE to go without baseline; tau = 0 is as published.
Departures: 1. those of the critic; 2. samples may be longer by 10 tokens instead of 3; 3. no published
likelihood weight is kept, ``lambda_mle`` = 0.1 is RF-C+LL.
"""

from __future__ import annotations

from functools import partial

from pydantic import Field
from torch import Tensor

from raysq.algorithms.joint import JointTraining
from raysq.algorithms.on_policy import later_surprise, to_go
from raysq.algorithms.rows import Rows
from raysq.losses import Head, policy_gradient, state_value, vocabulary_loss
from raysq.rewards.scoring import PendingRewards
from raysq.types import Samples


class ReinforceCritic(JointTraining):
    """REINFORCE with a critic: 1 sample a sentence, Adam 1e-4 for both, no entropy."""

    tau: float = Field(0.0, ge=0)
    """Entropy temperature, on the scale of one token's reward; published without."""
    lambda_mle: float = Field(0.0, ge=0)
    """Weight of the reference's likelihood beside the policy's return."""

    def policy_loss(
        self, head: Head, critics: tuple[Head, Head], samples: Samples, rewards: PendingRewards
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """REINFORCE with the critic's value as baseline, summed over rows; values as in actor-critic."""
        rows = Rows.of(samples)
        returns = to_go(rewards.result().token, samples).to(head.features.dtype)
        if self.target_tau():
            returns = returns + self.target_tau() * later_surprise(samples)
        return vocabulary_loss(
            partial(
                _baselined_by_critic,
                tau=self.tau,
                target_tau=self.target_tau(),
                restricted=self.forced_eos == "restricted",
            ),
            head,
            frozen=critics,
            rows=(rows.forced_eos, rows.tokens, returns),
        )


def _baselined_by_critic(
    logits: Tensor,
    q: Tensor,
    target_q: Tensor,
    forced_eos: Tensor,
    tokens: Tensor,
    returns: Tensor,
    *,
    tau: float,
    target_tau: float,
    restricted: bool,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The row loss of REINFORCE at the advantage G - sum_w pi_w Q_w, and the values of Eq. 19."""
    baseline = state_value(logits, q, forced_eos, tokens, tau=0.0, restrict_forced_eos=restricted)
    values = state_value(logits, target_q, forced_eos, tokens, tau=target_tau, restrict_forced_eos=restricted)
    loss, gradient, _ = policy_gradient(
        logits,
        tokens,
        returns - baseline["state_value"],
        forced_eos,
        entropy_coefficient=tau,
        restrict_forced_eos=restricted,
    )
    return loss, gradient, values
