"""The interpolation algorithm (Tan et al. 2019, section 4 and appendices B, C.2).

Ascends the likelihood of sequences of which every token by itself is drawn by one of three experts, chosen
by z ~ (lambda_1, lambda_2, lambda_3) (Algorithm 1):

    z = 1, the policy:     y_t ~ pi(. | y_{<t})
    z = 2, the reward:     y_t ~ exp{c Delta R(. | y_{<t})}
    z = 3, the reference:  y_t = y*_t, and eos past its end

Whenever the dev score falls, networks and optimisers return to the last accepted state and 0.06 of lambda_3
goes to lambda_1 (first, and every fifth time) or to lambda_2 (the other four times); with lambda_3 at 0 the
next fall ends the stage.

Limits: lambda_3 = 1 is MLE; with lambda_3 = 0 it is ``Spg``, but that there the policy has a say in the
reward's draws too; Tan et al. read MIXER as (0, 0, 1) up to a position and (1/2, 1/2, 0) after it.
Departures from the released code: 1. z is drawn by token (paper), there by step for a whole batch
(``per_step_z``). 2. The first token need not be the reference's (``force_first_token``). 3. c, which is not
in the paper, is 1 there; but Delta R is below 1 and V is large, so that with c = 1 the reward draws all but
uniform noise: compare ``reward_entropy`` with log V. 4. Past its end a reference shorter than the batch gives
eos, there pad. 5. lambda_3 stops at 0, there it falls below. 6. The penalty of repetition is in effect, there
it never is. 7. eos forced at the maximum length has no likelihood. 8. No unk is drawn by the reward. 9.
Gradients are clipped, and the number of epochs is our choice.
Departure from the paper, as released: c does not sharpen the policy's own draws.

BLEU's brevity penalty leaves the reward blind at the first words of a sentence, whatever c;
``--reward.brevity-penalty false`` lets it see from the first word on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, NamedTuple, Self

from pydantic import Field, model_validator
from torch import Tensor

from raysq.algorithms.base import Networks
from raysq.algorithms.mle import mle_objective
from raysq.algorithms.moment import Moment
from raysq.algorithms.on_policy import OnPolicy, ended_references, sample_metrics
from raysq.decoding import Choice, Tilt, given, tilted
from raysq.rewards.base import RewardFunction, pack
from raysq.rewards.scoring import PendingRewards
from raysq.types import Batch, MetricSums, Objective, Samples

MOST_OF_POLICY = 0.9
"""Above this share of its own draws a policy has hardly anything left to learn from, and collapses."""


class Mixture(NamedTuple):
    """Probabilities of the three experts."""

    model: float
    reward: float
    truth: float


class Interpolation(OnPolicy):
    """Likelihood of mixed sequences, the mixture annealed when dev BLEU falls: Adam 1e-3, from scratch."""

    restores: ClassVar[bool] = True

    lambda_model: float = Field(0.04, ge=0, le=1)
    """lambda_1: share of the tokens that the policy draws, at first."""
    lambda_reward: float = Field(0.0, ge=0, le=1)
    """lambda_2: share of the tokens that the reward draws, at first."""
    lambda_truth: float = Field(0.96, ge=0, le=1)
    """lambda_3: share of the tokens that are the reference's, at first."""
    lambda_step: float = Field(0.06, gt=0, le=1)
    """What lambda_truth loses at a time."""
    reward_steps: int = Field(4, ge=0)
    """How many times in a row lambda_reward gains, between two gains of lambda_model."""
    reward_factor: float = Field(1e4, ge=0)
    """c: factor of the unscaled reward of a token, in nats (the released code's is 1)."""
    eos_penalty: float = Field(1.0, ge=0)
    """Off the reward of an eos that comes before the sequence is as long as the reference."""
    repetition_penalty: float = Field(1.0, ge=0)
    """Off the reward of the word that came last (in effect 0 in the released code)."""
    per_step_z: bool = False
    """One z a step for the whole batch instead of one a token (released code)."""
    force_first_token: bool = False
    """The first token is the reference's (released code)."""
    batch_size: int = Field(64, ge=1)
    """Global batch. [sentences]"""
    decay: float = Field(1.0, gt=0, le=1)
    """Factor of the learning rate when dev BLEU falls, besides the mixture; 1 leaves it."""
    max_decays: int = Field(16, ge=0)
    """How often the mixture is annealed, at most: 16 times take lambda_truth from 0.96 to 0."""
    max_epochs: int = Field(50, ge=1)
    """Passes over the training data, at most. [epochs]"""

    @model_validator(mode="after")
    def _a_mixture_that_teaches(self) -> Self:
        if abs(self.lambda_model + self.lambda_reward + self.lambda_truth - 1) > 1e-9:
            raise ValueError("`lambda_model`, `lambda_reward` and `lambda_truth` must sum to 1")
        if self.mixture(self.max_decays).model > MOST_OF_POLICY:
            raise ValueError(
                f"`lambda_model` must stay within {MOST_OF_POLICY} after all `max_decays` steps, or the "
                "policy learns from itself alone and collapses: lower it, or raise `reward_steps`"
            )
        return self

    def mixture(self, decays: int) -> Mixture:
        """The experts' probabilities after so many falls of the dev score."""
        model, reward, truth = self.lambda_model, self.lambda_reward, self.lambda_truth
        for i in range(decays):
            step = min(self.lambda_step, truth)
            if i % (1 + self.reward_steps) == 0:
                model += step
            else:
                reward += step
            truth = round(truth - step, 12)  # what rounding leaves over is no share
        return Mixture(model, reward, truth)

    def exhausted(self, evaluations: int, since_best: int, decays: int) -> bool:
        """The reference has no share left to give away, or it has been asked often enough."""
        return decays >= self.max_decays or self.mixture(decays).truth == 0

    def draw(
        self, batch: Batch, networks: Networks, reward_function: RewardFunction, moment: Moment
    ) -> Samples:
        """N sequences a sentence from the three experts."""
        policy, N, T = networks.sampling_policy(), self.num_samples, self.longest_sample(batch)
        tilt = Tilt(
            reward_function,
            pack([of_one for of_one in batch.references for _ in range(N)]),
            self.reward_factor,
            self.eos_penalty,
            self.repetition_penalty,
        )
        words = ended_references(batch, N, T)
        by_policy, by_reward = self.experts(batch, moment)

        def by_expert(uniforms: Tensor) -> Choice:
            choice = tilted(policy, tilt, uniforms, by_policy, by_reward)
            return given(choice, words, ~(by_policy | by_reward))

        return self.sequences(batch, networks, moment, N, T, by_expert)

    def longest_sample(self, batch: Batch) -> int:
        """Tokens after which eos is forced; no reference is cut short."""
        return max(super().longest_sample(batch), batch.longest_reference)

    def experts(self, batch: Batch, moment: Moment) -> tuple[Tensor, Tensor]:
        """Where the policy draws and where the reward does [M, T]; the rest is the reference's."""
        N, T, mixture = self.num_samples, self.longest_sample(batch), self.mixture(moment.decays)
        if self.per_step_z:  # the first sequence of the global batch decides, on every rank
            z = moment.uniforms("experts", replace(batch, offset=0), N, T)[:1]
            z = z.expand(N * len(batch.reference), T)
        else:
            z = moment.uniforms("experts", batch, N, T)
        by_policy = z < mixture.model
        by_reward = ~by_policy & (z < 1 - mixture.truth)
        if self.force_first_token:
            by_policy[:, 0] = by_reward[:, 0] = False
        return by_policy, by_reward

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
        assert samples.log_probs is not None
        objective = mle_objective(batch, samples, networks, moment, coefficient=1 / self.num_samples)
        chosen = samples.mask & ~samples.forced_eos
        width = chosen.shape[1]
        by_policy, by_reward = (chosen & where[:, :width] for where in self.experts(batch, moment))
        choices, of_model, of_reward = (float(w.sum()) for w in (chosen, by_policy, by_reward))
        metrics = sample_metrics(samples, rewards.result().sequence) | {
            "nll": (objective.total.item(), choices),
            "from_model": (of_model, choices),
            "from_reward": (of_reward, choices),
            "from_truth": (choices - of_model - of_reward, choices),
        }
        if self.mixture(moment.decays).reward > 0:  # the mean surprise of draws estimates their entropy
            metrics["reward_entropy"] = (-samples.log_probs[by_reward].sum().item(), of_reward)
        return [objective], metrics
