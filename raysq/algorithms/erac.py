"""Entropy-regularised actor-critic, ERAC; with tau = 0 actor-critic, AC (Dai, Xie, Hovy 2018, section 4.2).

The critic is trained as in ``raysq.algorithms.critic`` against the policy as it changes; the policy ascends

    sum_t [sum_w pi(w|s_t) Q(s_t, w) + tau H(pi(.|s_t))]                                          (Eq. 20)

over all words w, with the online critic held constant, plus lambda_mle times the likelihood of the
reference. Both losses come from one forward pass.

Limits: tau = 0 is AC (Bahdanau et al. 2017; their delayed actor is ``delayed_policy_rate``); lambda_mle alone
is MLE; a delayed actor that follows at rate 1 is none.
Departures from the released code: 1. the entropy gradient is exact by default (``entropy_gradient``); 2. the
initial policy is a candidate for the best checkpoint; 3. those of the critic. With the delayed actor, 4. the
policy's gradient and dev scores are those of the policy itself on what the delayed one drew, under the same
dropout masks.
"""

from __future__ import annotations

from functools import partial

from pydantic import Field
from torch import Tensor

from raysq.algorithms.base import Follower, Networks
from raysq.algorithms.joint import JointTraining
from raysq.algorithms.moment import Moment
from raysq.algorithms.rows import Rows
from raysq.losses import Head, actor_critic, vocabulary_loss
from raysq.losses.actor_critic import EntropyGradient
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, Samples


class ActorCritic(JointTraining):
    """ERAC: 1 sample a sentence, Adam 1e-4 with beta1 = 0 for policy and critic."""

    delayed_policy_rate: float | None = Field(None, gt=0, le=1)
    """Draw from a policy that follows this one by so much at each update (Bahdanau et al.: 0.001), and let
    the TD target value its actions; none: from the policy itself (Dai et al.)."""
    entropy_gradient: EntropyGradient = "exact"
    """Gradient of tau H: exact, or with log pi divided by its L2 norm over words (released code)."""

    def following_rates(self) -> dict[Follower, float]:
        """beta of the target critic, and the delayed policy's rate where there is one."""
        rates = super().following_rates()
        return rates | ({"delayed_policy": self.delayed_policy_rate} if self.delayed_policy_rate else {})

    def target_values(
        self, values: dict[str, Tensor], batch: Batch, samples: Samples, networks: Networks, moment: Moment
    ) -> dict[str, Tensor]:
        """Vbar of the delayed policy, where it is set; a snapshot that only draws ahead has no say."""
        if self.delayed_policy_rate is None:
            return values
        delayed = self.state_values(batch, samples, networks, moment)
        return values | {"state_value": delayed["state_value"]}

    def policy_loss(
        self, head: Head, critics: tuple[Head, Head], samples: Samples, rewards: PendingRewards
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 20 negated, summed over rows; and of each row ``state_value`` (Eq. 19) and ``entropy``.

        ``critics`` are Q and Qbar, held constant.
        """
        rows = Rows.of(samples)
        return vocabulary_loss(
            partial(
                actor_critic,
                tau=self.tau,
                target_tau=self.target_tau(),
                entropy_gradient=self.entropy_gradient,
                restrict_forced_eos=self.forced_eos == "restricted",
            ),
            head,
            frozen=critics,
            rows=(rows.forced_eos, rows.tokens),
        )
