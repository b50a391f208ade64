"""What an algorithm is: which sequences do we train on, and what does each token weigh."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from raysq.algorithms.moment import Moment
from raysq.config import Config
from raysq.data.corpus import SplitName
from raysq.decoding.sampling import shift_right
from raysq.losses import Head
from raysq.models import CriticForm, EncoderDecoder, StepBaseline
from raysq.rewards.base import RewardFunction
from raysq.rewards.scoring import PendingRewards
from raysq.types import BOS, Batch, Memory, MetricSums, Objective, Rewards, Samples

Group = Literal["policy", "critic", "baseline"]
"""Networks that can be trained, each by an optimiser of its own."""
Follower = Literal["target_critic", "delayed_policy"]
"""Networks that follow a trained one, as moving averages of its parameters."""
FOLLOWED: dict[Follower, Group] = {"target_critic": "critic", "delayed_policy": "policy"}


@dataclass(frozen=True, slots=True)
class Networks:
    """The networks a stage works with."""

    policy: EncoderDecoder
    critic: EncoderDecoder | None = None
    """Reads the reference and gives one raw number a word: Q; the soft-Q oracle of VAML is one."""
    target_critic: EncoderDecoder | None = None
    baseline: StepBaseline | None = None
    delayed_policy: EncoderDecoder | None = None
    """What samples are drawn from, where it is not the policy itself."""

    def sampling_policy(self) -> EncoderDecoder:
        """The network that samples are drawn from."""
        return self.delayed_policy or self.policy

    def critics(self) -> tuple[EncoderDecoder, EncoderDecoder]:
        """Critic and target critic of a stage that has them."""
        assert self.critic is not None
        assert self.target_critic is not None
        return self.critic, self.target_critic


class _Draws(Protocol):
    def draw(
        self, batch: Batch, networks: Networks, reward_function: RewardFunction, moment: Moment
    ) -> Samples: ...


class Predicted(_Draws, Protocol):
    """What a critic predicts: the returns of these samples, with entropy at this temperature."""

    @property
    def forced_eos(self) -> Literal["restricted", "unrestricted"]:
        """What the policy is where eos is forced."""
        ...

    def target_tau(self) -> float:
        """Temperature of the entropy in the returns."""
        ...


class Residual(_Draws, Protocol):
    """What a soft-Q oracle solves: the soft Bellman equation on these samples."""

    @property
    def tau(self) -> float:
        """Its temperature."""
        ...

    def residual(
        self, oracle: EncoderDecoder, batch: Batch, samples: Samples, rewards: Rewards
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and by row its ``td_error``."""
        ...


class Evaluation(Protocol):
    """What can be measured of networks; see ``raysq.evaluation.Evaluator``."""

    def policy_scores(
        self,
        policy: EncoderDecoder,
        split_name: SplitName,
        *,
        closing: bool = False,
        beam_size: int | None = None,
    ) -> tuple[dict[str, Any], list[str]]:
        """Corpus BLEU of the decoded split, mean sentence BLEU of samples, perplexity; and the hypotheses."""
        ...

    def decoded_scores(
        self, policy: EncoderDecoder, split_name: SplitName, beam_size: int | None = None
    ) -> tuple[dict[str, Any], list[str]]:
        """Corpus BLEU of the decoded split alone, and the hypotheses."""
        ...

    def critic_scores(
        self, networks: Networks, algorithm: Predicted, split_name: SplitName
    ) -> dict[str, Any]:
        """How well a critic predicts the returns of what ``algorithm`` draws."""
        ...

    def oracle_scores(self, networks: Networks, algorithm: Residual, split_name: SplitName) -> dict[str, Any]:
        """Corpus BLEU of sequences decoded from softmax(Q / tau), given the reference; and |TD error|."""
        ...


class Algorithm(Config):
    """Base of every algorithm; its fields are the hyper-parameters, their defaults the published setting.

    No state, no Ray, no optimiser, no logging: ``draw`` says which sequences, ``objectives`` what each
    token weighs. The fields here say how long and how fast a stage trains.
    """

    uses_rewards: ClassVar[bool] = False
    """Whether the samples are scored."""
    critic_form: ClassVar[CriticForm | None] = None
    """Which critic it works with."""
    restores: ClassVar[bool] = False
    """Whether an evaluation that does not improve takes networks and optimisers back to the last that did."""

    optimizer: Literal["sgd", "adam"] = "adam"
    """Optimiser of every trained network."""
    learning_rate: float = Field(1e-3, gt=0)
    """Learning rate (the policy's, where a policy is trained)."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Adam's decay of the first moment; SGD takes it as no momentum."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Adam's decay of the second moment."""
    clip_norm: float = Field(5.0, gt=0)
    """Each network's gradient is scaled down to this L2 norm."""
    batch_size: int = Field(50, ge=1)
    """Global batch. [sentences]"""
    max_epochs: int = Field(30, ge=1)
    """Passes over the training data, at most. [epochs]"""
    max_updates: int = Field(0, ge=0)
    """Updates, at most; 0 is no bound. [updates]"""
    evaluate_every: int = Field(0, ge=0)
    """Updates between two evaluations; 0 is once an epoch. [updates]"""
    decay: float = Field(0.5, gt=0, le=1)
    """Factor of the learning rate when an evaluation does not improve."""
    max_decays: int = Field(6, ge=0)
    """The failure to improve after this many decays ends the stage."""

    linear_decay: bool = False
    """Let the rate fall linearly to 0 at max_updates, besides the decays: for schedules of known length."""
    seed: int | None = Field(None, ge=0)
    """Source of this stage's randomness; none: the workflow's seed. Lets stages that share an actor or a
    critic differ in their own draws."""

    @property
    def trains(self) -> tuple[Group, ...]:
        """The networks it updates."""
        return ("policy",)

    @property
    def model_free(self) -> bool:
        """Whether ``draw`` needs no network, so that sample workers can draw ahead of the learner."""
        return False

    @property
    def whole_batch(self) -> bool:
        """Whether an update needs the global batch in one piece: one learner, no gradient accumulation."""
        return False

    @property
    def selection(self) -> tuple[str, Literal["max", "min"]]:
        """Dev metric that picks the best checkpoint and drives the decay, and which way is better.

        Where text is scored by ROUGE, that is in BLEU's place: see ``selection_by``.
        """
        return ("bleu", "max")

    def selection_by(self, scoring: str) -> tuple[str, Literal["max", "min"]]:
        """``selection`` under the setting ``decoding.scoring``."""
        name, mode = self.selection
        if scoring == "rouge" and name.endswith("bleu"):
            return name.removesuffix("bleu") + "rouge", mode
        return name, mode

    @model_validator(mode="after")
    def _length_known(self) -> Self:
        if self.linear_decay and not self.max_updates:
            raise ValueError("`max_updates` must be above 0 with `linear_decay`")
        return self

    def most_updates(self, batches_per_epoch: int) -> int:
        """Updates at which the stage ends at the latest."""
        by_epochs = self.max_epochs * batches_per_epoch
        return min(by_epochs, self.max_updates) if self.max_updates else by_epochs

    def annealing(self, update: int) -> float:
        """Factor of the learning rate by ``linear_decay``: from 1 to 0."""
        return 1 - update / self.max_updates if self.linear_decay else 1.0

    def learning_rates(self, update: int, decays: int) -> dict[Group, float]:
        """Learning rate of each trained network at an update (from 0) after so many decays."""
        rate = self.learning_rate * self.decay**decays * self.annealing(update)
        return dict.fromkeys(self.trains, rate)

    def exhausted(self, evaluations: int, since_best: int, decays: int) -> bool:
        """Whether an evaluation that did not improve ends the stage.

        Args:
            evaluations: so far, this one included.
            since_best: evaluations since the best one.
            decays: answered failures before this one.
        """
        return decays >= self.max_decays

    def following_rates(self) -> dict[Follower, float]:
        """By how much each moving average follows its network after every update; 1 makes it a copy."""
        return {}

    def scores(
        self, evaluation: Evaluation, networks: Networks, split: SplitName, *, closing: bool
    ) -> tuple[dict[str, Any], list[str]]:
        """Scores of a split, and the hypotheses where a policy was decoded.

        ``closing``: the best checkpoint is scored at the stage's end, which may take more time.
        """
        return evaluation.policy_scores(networks.policy, split, closing=closing)

    def warnings(self, dev: Mapping[str, float]) -> list[str]:
        """What a user should know of the dev scores before the first update."""
        return []

    @abstractmethod
    def draw(
        self, batch: Batch, networks: Networks, reward_function: RewardFunction, moment: Moment
    ) -> Samples:
        """The sequences to train on: constants, but for ``Samples.memory``, which may carry a graph."""

    @abstractmethod
    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        moment: Moment,
    ) -> tuple[list[Objective], MetricSums]:
        """The terms of the loss, and metrics; ``rewards.result()`` is asked as late as possible."""


def encoded_source(batch: Batch, networks: Networks) -> tuple[Memory, Memory | None]:
    """Memory to draw with; and with its graph, as ``Samples.memory``, where the policy itself draws."""
    policy = networks.sampling_policy()
    memory = policy.encode(batch.source, batch.source_mask)
    return memory.detach(), memory if policy is networks.policy else None


def reference_samples(batch: Batch, memory: Memory | None = None) -> Samples:
    """The references themselves: N = 1; ``memory`` as in ``Samples``."""
    return Samples(
        inputs=shift_right(batch.reference, batch.reference_mask),
        targets=batch.reference,
        mask=batch.reference_mask,
        forced_eos=torch.zeros_like(batch.reference_mask),
        num_per_example=1,
        memory=memory,
    )


def critic_input(batch: Batch) -> tuple[Tensor, Tensor]:
    """What a critic reads: bos, the reference's words, eos [B, T + 1], and its mask."""
    bos = torch.full_like(batch.reference[:, :1], BOS)
    return (
        torch.cat((bos, batch.reference), dim=1),
        torch.cat((torch.ones_like(batch.reference_mask[:, :1]), batch.reference_mask), dim=1),
    )


def policy_head(policy: EncoderDecoder, features: Tensor) -> Head:
    """Rows of policy features with the layer that turns them into logits."""
    output = policy.output
    return Head(features, output.weight, output.policy_bias(), output.product_type)


def critic_head(critic: EncoderDecoder, features: Tensor) -> Head:
    """Rows of critic features with the layer that turns them into Q."""
    return Head(features, critic.output.weight, critic.output.bias, critic.output.product_type)
