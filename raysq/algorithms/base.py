"""What an algorithm is: which sequences do we train on, and what does each token weigh."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from raysq.algorithms.randomness import Randomness
from raysq.config import Config
from raysq.decoding.sampling import shift_right
from raysq.losses import Head
from raysq.models import Seq2Seq
from raysq.rewards.scoring import PendingRewards
from raysq.types import BOS, Batch, MetricSums, Objective, Samples

Group = Literal["policy", "critic"]


@dataclass(frozen=True, slots=True)
class Networks:
    """The networks a stage works with."""

    policy: Seq2Seq
    critic: Seq2Seq | None = None
    target_critic: Seq2Seq | None = None

    def critics(self) -> tuple[Seq2Seq, Seq2Seq]:
        """Critic and target critic of a stage that has them."""
        assert self.critic is not None
        assert self.target_critic is not None
        return self.critic, self.target_critic


class Algorithm(Config):
    """Base of every algorithm; its fields are the hyper-parameters, their defaults the published setting.

    No state, no Ray, no optimiser, no logging: ``draw`` says which sequences, ``objectives`` what each
    token weighs. The fields here say how long and how fast a stage trains.
    """

    trains: ClassVar[tuple[Group, ...]] = ("policy",)
    uses_rewards: ClassVar[bool] = False
    selection: ClassVar[tuple[str, Literal["max", "min"]]] = ("bleu", "max")
    """Dev metric that picks the best checkpoint and drives the decay."""

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

    def target_update_rate(self) -> float | None:
        """beta of the target network after every update; None without one."""
        return None

    def warnings(self, dev: Mapping[str, float]) -> list[str]:
        """What a user should know of the dev scores before the first update."""
        return []

    @abstractmethod
    def draw(self, batch: Batch, networks: Networks, randomness: Randomness) -> Samples:
        """The sequences to train on."""

    @abstractmethod
    def objectives(
        self,
        batch: Batch,
        samples: Samples,
        rewards: PendingRewards | None,
        networks: Networks,
        randomness: Randomness,
    ) -> tuple[list[Objective], MetricSums]:
        """The terms of the loss, and metrics; ``rewards.result()`` is asked as late as possible."""


def reference_samples(batch: Batch) -> Samples:
    """The references themselves: N = 1."""
    return Samples(
        inputs=shift_right(batch.reference, batch.reference_mask),
        targets=batch.reference,
        mask=batch.reference_mask,
        forced_eos=torch.zeros_like(batch.reference_mask),
        num_per_example=1,
    )


def critic_input(batch: Batch) -> tuple[Tensor, Tensor]:
    """What a critic reads: bos, the reference's words, eos [B, T + 1], and its mask."""
    bos = torch.full_like(batch.reference[:, :1], BOS)
    return (
        torch.cat((bos, batch.reference), dim=1),
        torch.cat((torch.ones_like(batch.reference_mask[:, :1]), batch.reference_mask), dim=1),
    )


def policy_head(policy: Seq2Seq, features: Tensor) -> Head:
    """Rows of policy features with the layer that turns them into logits."""
    return Head(features, policy.output.weight, policy.output.policy_bias())


def critic_head(critic: Seq2Seq, features: Tensor) -> Head:
    """Rows of critic features with the layer that turns them into Q."""
    return Head(features, critic.output.weight, critic.output.bias)
