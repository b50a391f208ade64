"""REINFORCE (Williams 1992) with the baselines that sequence training knows.

Minimises, per sentence, the mean over its N samples y of

    -sum_t A_t log pi(y_t | y_{<t}, x) - tau sum_t H(pi(. | y_{<t}, x)),   A_t constant,

``baseline`` says what A_t is, R being the payoff of the whole sequence, without a factor:

    none              A_t = G_t
    learned           A_t = G_t - b_t(h_t), one linear regression a step (Ranzato et al. 2016, section 3.2.2)
    greedy            A_t = R(y) - R(greedy)                    self-critical, Rennie et al. (2017) Eq. 9
    leave_one_out     A_t = R(y_i) - mean_{j != i} R(y_j)       Luo (2020), Kool et al. (2019)
    group_normalised  A_t = (R(y_i) - mean_j R(y_j)) / (std_j R(y_j) + 1e-4)     GRPO, Shao et al. (2024)

G_t is what the token and those after it earn, sum_{k >= t} r_k with the rewards by token (Dai et al. 2018
Eq. 13, scaled as the workflow's rewards are), or R(y) at every token (``credit``). With ``ratio_clip`` the
first term is PPO's (Schulman et al. 2017); its ratio is 1 unless an older policy draws. Without it samples of
an older policy (max_staleness) count as the policy's own, and the gradient is biased.

tau is the temperature of the entropy of whole sequences in Koyamada et al. (2017) Eq. 3: its exact gradient
wants -tau sum_{k > t} log pi(y_k) in A_t too (in the return, where a baseline is learned). ``future_entropy``
= false leaves that out: the entropy of the single step alone (Mnih et al. 2016).

Limits: without reward and tau, lambda_mle alone is MLE; one distinct payoff in a group gives no gradient.
Departures: 1. terms are summed over tokens and averaged over sequences, where the code of Luo averages over
tokens and that of Shao et al. over each sequence's; 2. eos forced at the maximum length was no choice and
weighs nothing; 3. the greedy sequence, decoded without dropout, is scored beside the samples and not trained
on; 4. the standard deviation of a group is that of the N payoffs themselves (divided by N); 5. GRPO's penalty
on the distance from a reference policy is not there.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from raysq.algorithms.base import Networks, encoded_source, policy_head, reference_samples
from raysq.algorithms.baseline import MayLearnBaseline
from raysq.algorithms.mle import mle_objective
from raysq.algorithms.moment import Moment
from raysq.algorithms.on_policy import (
    later_surprise,
    sample_metrics,
    steps,
    to_go,
    with_last,
    without_last,
)
from raysq.algorithms.rows import Rows, by_row, policy_features
from raysq.decoding import greedy
from raysq.losses import policy_gradient, vocabulary_loss
from raysq.rewards.base import RewardFunction
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Rewards, Samples

GROUP_EPSILON = 1e-4
"""Added to the standard deviation of a group's payoffs."""


class Reinforce(MayLearnBaseline):
    """REINFORCE by the setting of Luo (2020): 5 samples, each against the mean of the others, Adam 5e-5."""

    learning_rate: float = Field(5e-5, gt=0)
    """Learning rate of the policy."""
    num_samples: int = Field(5, ge=1)
    """Sequences drawn for each sentence; 1 is published for the baselines none, learned and greedy."""
    baseline: Literal["none", "learned", "greedy", "leave_one_out", "group_normalised"] = "leave_one_out"
    """What is subtracted from the return."""
    credit: Literal["to_go", "sequence"] | None = None
    """Return of a token: what is earned from it on, or the whole payoff. None is to_go with the baselines
    none and learned; the other baselines compare whole payoffs."""
    tau: float = Field(0.0, ge=0)
    """Entropy temperature, on the scale of what the advantages are made of."""
    future_entropy: bool = True
    """Entropy of the later steps inside the advantage; false is that of the step alone."""
    ratio_clip: float | None = Field(None, gt=0, lt=1)
    """Clip the probability ratio to the drawing policy at 1 plus or minus this; none: no ratio."""
    lambda_mle: float = Field(0.0, ge=0)
    """Weight of the reference's likelihood beside the return."""

    @property
    def learns_baseline(self) -> bool:
        """By ``baseline``."""
        return self.baseline == "learned"

    @model_validator(mode="after")
    def _settings_have_effects(self) -> Self:
        if self.baseline in ("leave_one_out", "group_normalised") and self.num_samples < 2:
            raise ValueError(f"`num_samples` must be 2 or more with `baseline` {self.baseline}")
        if self.baseline not in ("none", "learned"):
            self.refuse_change("credit", "unless `baseline` is none or learned")
        if not self.tau:
            self.refuse_change("future_entropy", "unless `tau` is above 0")
        return self

    def draw(
        self, batch: Batch, networks: Networks, reward_function: RewardFunction, moment: Moment
    ) -> Samples:
        """N samples a sentence; the greedy sequence is one more, the last of each."""
        samples = super().draw(batch, networks, reward_function, moment)
        if self.baseline != "greedy":
            return samples
        memory, _ = encoded_source(batch, networks)
        best = greedy(networks.sampling_policy(), memory, self.longest_sample(batch))
        return with_last(samples, best)

    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        moment: Moment,
    ) -> tuple[list[Objective], MetricSums]:
        """The policy's return, the baseline's squared error, the reference's likelihood."""
        assert rewards is not None
        drawn = without_last(samples) if self.baseline == "greedy" else samples
        assert drawn.log_probs is not None
        features = policy_features(networks.policy, batch, drawn, moment)
        earned = rewards.result()
        advantages = self._advantages(earned, samples, drawn).to(features.dtype)
        advantages, of_baseline = self.against_baseline(networks, features, steps(drawn), advantages)
        rows = Rows.of(drawn)
        total, values = vocabulary_loss(
            partial(policy_gradient, entropy_coefficient=self.tau, ratio_clip=self.ratio_clip),
            policy_head(networks.policy, features),
            rows=(rows.tokens, advantages, rows.forced_eos, drawn.log_probs[drawn.mask]),
        )
        objectives = [Objective("policy", total, "example", 1 / self.num_samples), *of_baseline]
        if self.lambda_mle:
            references = reference_samples(batch, samples.memory)
            objectives.append(mle_objective(batch, references, networks, moment, coefficient=self.lambda_mle))
        payoffs = earned.sequence.view(-1, samples.num_per_example)[:, : self.num_samples]
        n = float(len(advantages))
        values |= {"advantage": advantages, "advantage_squared": advantages.square()}
        logged = ("entropy", "advantage", "advantage_squared", "ratio", "clipped")
        metrics = {name: (values[name].sum().item(), n) for name in logged if name in values}
        return objectives, sample_metrics(drawn, payoffs) | metrics

    def _advantages(self, rewards: Rewards, samples: Samples, drawn: Samples) -> Tensor:
        """Return of each row less what other sequences say of it [n]; the learned baseline comes later."""
        payoffs = rewards.sequence.view(-1, samples.num_per_example)
        if self.baseline == "greedy":
            of_sequences = payoffs[:, :-1] - payoffs[:, -1:]
        elif self.baseline == "leave_one_out":
            of_sequences = self.num_samples / (self.num_samples - 1) * (payoffs - payoffs.mean(1, True))
        elif self.baseline == "group_normalised":
            exact = payoffs.double()  # equal payoffs must give 0, not rounding over epsilon
            spread = exact.std(1, correction=0, keepdim=True) + GROUP_EPSILON
            of_sequences = (exact - exact.mean(1, True)) / spread
        else:
            of_sequences = payoffs
        if self.baseline in ("none", "learned") and self.credit != "sequence":
            advantages = to_go(rewards.token, drawn)
        else:
            advantages = by_row(of_sequences.flatten(), drawn)
        if self.tau and self.future_entropy:
            advantages = advantages + self.tau * later_surprise(drawn)
        return advantages
