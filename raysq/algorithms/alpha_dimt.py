"""alpha-DiMT: training by the alpha-divergence from policy to RAML's target (Koyamada et al. 2017).

Minimises D^(alpha)(p || q) with q(y) = exp{R(y) / tau} / Z, whose gradient is, up to a factor,

    -sum_y p^alpha q^(1 - alpha) grad log p(y | x)                                          (Eqs. 13 and 14)

estimated on N samples of a proposal q0 with the weights, which get no gradient,

    w_i ~ p_i^alpha q_i^(1 - alpha) / q0_i,   1 in sum over the samples of an example                (Eq. 15)

R is minus the Hamming distance; q0 replaces e words, e uniform up to a fifth of them, and never touches eos.
p is that of the pass that is trained, dropout included. Z falls out, and log weights stay in log space.

With q0 divided out the published tau = 3 is hot: about V^e sequences have distance e, so that q has most of
its mass where q0 replaces most. ``q0_correction`` off (released) favours few replacements.

Limits: alpha = 0 is RAML with importance weights. At alpha = 1 weights are p / q0, all alike where q0 = p,
and the gradient tends to that of -log p(S), S what q0 can propose: 0 for all sequences (the published limit,
policy gradient with entropy, needs the factor tau / (1 - alpha) that Eq. 15 drops). With no word replaced it
is MLE.

Departures. From the paper: 1. samples are drawn anew in every epoch, 5 a sentence: the paper gives no number.
2. An equal dev score is no failure. 3. unk is not replaced by an attended source word in dev and test scores.
From the released code: 4. it has one sample a sentence, normalises weights over the mini-batch, takes
p^(1 / length) for p and never divides by q0 (``normalise_over``, ``p_norm``, ``q0_correction``; preset
koyamada2017_released); over a batch, a sentence's weights depend on which others share its part of it, and so
one learner has to have it whole (``whole_batch``). 5. Its length is that of the padded batch, here the
sequence's own; it computes weights anew for every 32 steps, here once. 6. It may overwrite bos and eos, never
draws the last three words, and does not shuffle the training data again.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from raysq.algorithms.base import Algorithm, Evaluation, Group, Networks, policy_head
from raysq.algorithms.moment import Moment
from raysq.algorithms.rows import Rows, by_row, by_sequence, policy_features, source_weights
from raysq.data.corpus import SplitName
from raysq.losses import cross_entropy, negative_log_likelihoods, vocabulary_loss
from raysq.proposals import BoundedHamming, propose
from raysq.rewards.base import RewardFunction
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Samples

TEXT_SCORES = ("bleu", "rouge")
"""By which checkpoints may be chosen."""


class AlphaDimt(Algorithm):
    """The alpha-divergence at 0.5, from scratch: SGD 1.0, halved down to 0.05 on greedy dev BLEU."""

    uses_rewards: ClassVar[bool] = True

    optimizer: Literal["sgd", "adam"] = "sgd"
    """Optimiser of the policy."""
    learning_rate: float = Field(1.0, gt=0)
    """Learning rate."""
    decay_floor: float = Field(0.05, ge=0, le=1)
    """Decays leave at least this share of the learning rate (published: 0.05 of 1.0)."""
    batch_size: int = Field(128, ge=1)
    """Global batch. [sentences]"""
    max_epochs: int = Field(100, ge=1)
    """Passes over the training data, at most; none is published. [epochs]"""
    max_decays: int = Field(1000, ge=0)
    """Failures to improve that lower the rate, and raise alpha, at most; they do not end the stage."""
    min_evaluations: int = Field(10, ge=0)
    """The stage ends after more evaluations than these, ..."""
    patience: int = Field(5, ge=1)
    """... and this many after the best one."""
    alpha: float = Field(0.5, ge=0, le=1)
    """Between RAML (0) and the policy's own likelihood (1); published 0.3, 0.5 and 0.7."""
    alpha_increase: float = Field(0.0, ge=0, le=1)
    """alpha grows by this with every decay of the learning rate."""
    alpha_max: float = Field(1.0, ge=0, le=1)
    """alpha grows no further."""
    temperature: float = Field(3.0, gt=0)
    """tau of exp(R / tau), for R minus the Hamming distance; R is not scaled by length."""
    num_samples: int = Field(5, ge=1)
    """Sequences drawn for each sentence (released: 1)."""
    q0_correction: bool = True
    """Divide by the proposal's density (released: no)."""
    p_norm: Literal["none", "length"] = "none"
    """Which p is weighed: that of the sequence, or p^(1 / length), length with eos (released)."""
    normalise_over: Literal["source", "batch"] = "source"
    """Weights sum to 1 over the samples of a sentence, or to the number of sentences over the batch
    (released), which needs one learner without gradient accumulation."""
    proposal: BoundedHamming = BoundedHamming()
    """How words of the reference are replaced."""

    @property
    def model_free(self) -> bool:
        """Proposals need no network."""
        return True

    @property
    def whole_batch(self) -> bool:
        """With weights normalised over it."""
        return self.normalise_over == "batch"

    @property
    def selection(self) -> tuple[str, Literal["max", "min"]]:
        """Greedy decoding of dev."""
        return ("greedy_bleu", "max")

    @model_validator(mode="after")
    def _weights_differ(self) -> Self:
        if self.num_samples == 1 and self.normalise_over == "source":  # every weight would be 1
            raise ValueError("`num_samples` must be above 1 with `normalise_over` source")
        if self.alpha > self.alpha_max:
            raise ValueError("`alpha` must not be above `alpha_max`")
        return self

    def alpha_after(self, decays: int) -> float:
        """alpha after so many decays of the learning rate."""
        return min(self.alpha + self.alpha_increase * decays, self.alpha_max)

    def learning_rates(self, update: int, decays: int) -> dict[Group, float]:
        """Decays lower it down to ``decay_floor``."""
        share = max(self.decay**decays, self.decay_floor)
        return {"policy": self.learning_rate * share * self.annealing(update)}

    def exhausted(self, evaluations: int, since_best: int, decays: int) -> bool:
        """Whether enough evaluations, and enough since the best, have passed."""
        return evaluations > self.min_evaluations and since_best >= self.patience

    def scores(
        self, evaluation: Evaluation, networks: Networks, split: SplitName, *, closing: bool
    ) -> tuple[dict[str, Any], list[str]]:
        """Greedy decoding as ``greedy_bleu`` or ``greedy_rouge``; at the end beam search too, as ``bleu``."""
        if not closing:
            scores, hypotheses = evaluation.policy_scores(networks.policy, split, beam_size=1)
            return {f"greedy_{k}" if k in TEXT_SCORES else k: v for k, v in scores.items()}, hypotheses
        greedy, _ = evaluation.decoded_scores(networks.policy, split, beam_size=1)
        scores, hypotheses = evaluation.policy_scores(networks.policy, split, closing=True)
        return scores | {f"greedy_{k}": v for k, v in greedy.items() if k in TEXT_SCORES}, hypotheses

    def draw(
        self, batch: Batch, networks: Networks, reward_function: RewardFunction, moment: Moment
    ) -> Samples:
        """N sequences of each example from the proposal."""
        return propose(
            self.proposal,
            batch,
            self.num_samples,
            moment.of_epoch,
            keep_reference=False,
            with_density=self.q0_correction,
        )

    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        moment: Moment,
    ) -> tuple[list[Objective], MetricSums]:
        """One term, the weighted negative log-likelihood; log p comes from a pass of its own before."""
        assert rewards is not None
        rows = Rows.of(samples)
        head = policy_head(networks.policy, policy_features(networks.policy, batch, samples, moment))
        nll = negative_log_likelihoods(head, rows.tokens)
        payoffs, alpha = rewards.result().sequence, self.alpha_after(moment.decays)
        weights = self.weights(samples, -by_sequence(nll, samples), payoffs, alpha).to(nll.dtype)
        total, _ = vocabulary_loss(cross_entropy, head, rows=(rows.tokens,), weights=by_row(weights, samples))
        groups = weights.view(-1, self._num_normalised(samples))
        effective = groups.sum(1).square() / groups.square().sum(1)
        return [Objective("mle", total, "example")], {
            "tokens": (float(len(rows.tokens)), 1.0),
            "nll": (total.item(), (weights * samples.mask.sum(1)).sum().item()),
            "payoff": (payoffs.sum().item(), float(len(payoffs))),
            "effective": (effective.sum().item(), float(len(batch.example_ids))),
            "alpha": (alpha, 1.0),
        }

    def weights(self, samples: Samples, log_p: Tensor, payoffs: Tensor, alpha: float) -> Tensor:
        """Eq. 15's weights [M] from log p [M] and payoffs R [M]: float64, of mean 1 / N."""
        if self.p_norm == "length":
            log_p = log_p / samples.mask.sum(1)
        scores = alpha * log_p.double() + (1 - alpha) / self.temperature * payoffs
        if self.q0_correction:
            assert samples.log_proposal is not None
            scores = scores - samples.log_proposal
        num_normalised = self._num_normalised(samples)
        return source_weights(scores, num_normalised) * (num_normalised / samples.num_per_example)

    def _num_normalised(self, samples: Samples) -> int:
        """How many sequences weights are normalised over."""
        return samples.num_per_example if self.normalise_over == "source" else len(samples.mask)
