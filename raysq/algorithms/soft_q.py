"""The oracle of VAML: soft Q-learning off-policy, given the reference (Dai, Xie, Hovy 2018, section 4.1).

Minimises the soft Bellman residual of Q(y_{<t}, w; y*), which reads the reference y*, over trajectories y

    sum_t (Q(y_{<t}, y_t) - [r_t + V(y_{1:t})])^2,   V(s) = tau log sum_w exp(Q(s, w) / tau)       (Eq. 16)

with V = 0 after eos and the reward r_t = R(y_{1:t}) - R(y_{1:t-1}) (Eq. 13) scaled by the reference length.
There is no target network: the gradient flows through Q and through V (Baird 1995). The trajectories are y*
and copies of it in which words were replaced by uniform ones, whatever any policy would do. At the minimum
softmax(Q / tau) is RAML's distribution exp(R(y) / tau) / Z, token by token (Corollary 1).

Departures from the released code: 1. V after eos is 0 in every row, not only in the longest of a batch; 2.
pad and bos are no actions and have no share in V; 3. unk is replaced, and never drawn.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from raysq.algorithms.base import Algorithm, Evaluation, Group, Networks, policy_head
from raysq.algorithms.moment import Moment
from raysq.algorithms.rows import Rows, critic_features
from raysq.data.corpus import SplitName
from raysq.losses import residual_soft_q_loss
from raysq.models import CriticForm, EncoderDecoder
from raysq.proposals import UniformNoise, propose
from raysq.rewards.base import RewardFunction
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Rewards, Samples


class SoftQ(Algorithm):
    """Soft-Q oracle on the reference and 5 noisy copies, Adam 1e-3, halved when its decoding stalls."""

    uses_rewards: ClassVar[bool] = True
    critic_form: ClassVar[CriticForm | None] = "oracle"

    tau: float = Field(0.4, gt=0)
    """Entropy temperature, on the scale of one token's reward."""
    num_copies: int = Field(5, ge=0)
    """Noisy copies of each reference, beside the reference itself. [sequences]"""
    noise: UniformNoise = UniformNoise()
    """How the copies are made."""
    select_by: Literal["oracle_bleu", "td_error"] = "oracle_bleu"
    """Dev score of the best oracle: BLEU of what it decodes, given the reference, or |TD error|."""
    max_decays: int = Field(4, ge=0)
    """The failure to improve after this many decays ends the stage."""

    @property
    def trains(self) -> tuple[Group, ...]:
        """The oracle."""
        return ("critic",)

    @property
    def model_free(self) -> bool:
        """Noise needs no network."""
        return True

    @property
    def selection(self) -> tuple[str, Literal["max", "min"]]:
        """By ``select_by``."""
        return (self.select_by, "max" if self.select_by == "oracle_bleu" else "min")

    def scores(
        self, evaluation: Evaluation, networks: Networks, split: SplitName, *, closing: bool
    ) -> tuple[dict[str, Any], list[str]]:
        """What the oracle decodes given the reference, and how far it is from its fixed point."""
        return evaluation.oracle_scores(networks, self, split), []

    def draw(
        self, batch: Batch, networks: Networks, reward_function: RewardFunction, moment: Moment
    ) -> Samples:
        """The reference first, then its noisy copies; all of one length."""
        return propose(
            self.noise,
            batch,
            1 + self.num_copies,
            moment.of_epoch,
            keep_reference=True,
            with_density=False,
        )

    def residual(
        self,
        oracle: EncoderDecoder,
        batch: Batch,
        samples: Samples,
        rewards: Rewards,
        dropout_mask: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 16 summed over the samples, and its values by row: see ``residual_soft_q_loss``."""
        rows = Rows.of(samples)
        head = policy_head(oracle, critic_features(oracle, batch, samples, dropout_mask))
        token_rewards = rewards.token[samples.mask].to(head.features.dtype)
        return residual_soft_q_loss(
            head, rows.tokens, rows.forced_eos, token_rewards, rows.last, tau=self.tau
        )

    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        moment: Moment,
    ) -> tuple[list[Objective], MetricSums]:
        """One term, the squared residual."""
        assert rewards is not None
        assert networks.critic is not None
        oracle, N, T = networks.critic, samples.num_per_example, samples.mask.shape[1]
        mask = moment.dropout_mask("oracle dropout", batch, N, batch.longest_reference, oracle)
        earned = rewards.result()
        total, values = self.residual(oracle, batch, samples, earned, None if mask is None else mask[:, :T])
        sequences, tokens = float(len(samples.mask)), float(samples.mask.sum())
        return [Objective("soft_q", total, "sequence")], {
            "tokens": (tokens, 1.0),
            "td_error": (values["td_error"].abs().sum().item(), tokens),
            "q": (values["q"].sum().item(), tokens),
            "reward": ((earned.sequence * earned.scale).sum().item(), sequences),
        }
