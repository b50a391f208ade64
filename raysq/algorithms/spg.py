"""Softmax policy gradient (Ding and Soricut 2017; Tan et al. 2019, section 3.4).

Maximises log E_pi[exp R(y)] (Eq. 8), whose gradient is E_q[grad log pi(y)] at q(y) ~ pi(y) exp R(y): draw
from q, then ascend the likelihood of what was drawn. Neither a pre-trained policy nor a baseline is needed,
since q is near the reference from the start. q is drawn from token by token (Eq. 4 at alpha = 1, beta = 0),

    y_t ~ pi(. | y_{<t}) exp{W_t Delta R(. | y_{<t})},   W_t = 0 with probability p_drop, else W

where Delta R contains Ding and Soricut's two penalties: -1 for eos before the sequence is as long as the
reference, -1 for the word that came last. W = 10,000 lets the reward decide wherever it tells words apart
and the policy between words that earn the same: "bang-bang".

Limits: p_drop = 0, W = 1 and no penalties are the factors of Eq. 4; p_drop = 1 is likelihood of the policy's
own samples, whose expected gradient is 0. It is ``Interpolation`` without the reference, except that there
the reward decides alone.
Departures: 1. a product of normalised factors is not q where a normaliser depends on the prefix (published
so; ``tests/theory/test_erpo.py``). 2. p_drop is given as 0.2 to 0.8, to be tuned; there is no published value
for translation. 3. eos forced at the maximum length was no choice and has no likelihood. 4. Tan et al.
(section 5) publish Adam 1e-3 and batches of 64; that the rate is halved, gradients are clipped and there are
30 epochs is our choice.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from raysq.algorithms.base import Networks
from raysq.algorithms.mle import mle_objective
from raysq.algorithms.moment import Moment
from raysq.algorithms.on_policy import OnPolicy, sample_metrics
from raysq.decoding import Choice, Tilt, tilted
from raysq.rewards.base import RewardFunction, pack
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Samples


class Spg(OnPolicy):
    """Likelihood of sequences drawn from the policy tilted towards reward: Adam 1e-3, from scratch."""

    reward_factor: float = Field(1e4, ge=0)
    """W: factor of the unscaled reward of a token, in nats."""
    batch_size: int = Field(64, ge=1)
    """Global batch. [sentences]"""
    drop_rate: float = Field(0.4, ge=0, le=1)
    """p_drop: share of the tokens that the policy draws alone."""
    eos_penalty: float = Field(1.0, ge=0)
    """Off the reward of an eos that comes before the sequence is as long as the reference."""
    repetition_penalty: float = Field(1.0, ge=0)
    """Off the reward of the word that was drawn last."""

    def draw(
        self, batch: Batch, networks: Networks, reward_function: RewardFunction, moment: Moment
    ) -> Samples:
        """N sequences a sentence from the tilted policy."""
        policy, N, T = networks.sampling_policy(), self.num_samples, self.longest_sample(batch)
        tilt = Tilt(
            reward_function,
            pack([of_one for of_one in batch.references for _ in range(N)]),
            self.reward_factor,
            self.eos_penalty,
            self.repetition_penalty,
        )
        by_reward = moment.uniforms("drops", batch, N, T) >= self.drop_rate

        def choice(uniforms: Tensor) -> Choice:
            return tilted(policy, tilt, uniforms, torch.ones_like(by_reward), by_reward)

        return self.sequences(batch, networks, moment, N, T, choice)

    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        moment: Moment,
    ) -> tuple[list[Objective], MetricSums]:
        """One term, the negative log-likelihood of what was drawn; the rewards are for the metrics."""
        assert rewards is not None
        objective = mle_objective(batch, samples, networks, moment, coefficient=1 / self.num_samples)
        metrics = sample_metrics(samples, rewards.result().sequence)
        choices = float((samples.mask & ~samples.forced_eos).sum())
        return [objective], metrics | {"nll": (objective.total.item(), choices)}
