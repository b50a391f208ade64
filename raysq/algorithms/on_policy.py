"""What algorithms have in common that train on sequences drawn from the policy itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from raysq.algorithms.base import Algorithm, Networks, encoded_source
from raysq.algorithms.moment import Moment
from raysq.decoding import Choice, sample
from raysq.rewards.base import RewardFunction
from raysq.types import EOS, PAD, Batch, MetricSums, Samples


class OnPolicy(Algorithm):
    """Base of these algorithms: how many sequences are drawn for a sentence, how long, with which dropout."""

    uses_rewards: ClassVar[bool] = True

    num_samples: int = Field(1, ge=1)
    """Sequences drawn for each sentence."""
    extra_length: int = Field(10, ge=0)
    """Longest sample: this more than the batch's longest reference with bos and eos. [tokens]"""
    max_length: int = Field(50, ge=2)
    """Longest sample, eos counted. [tokens]"""
    sample_dropout: bool = True
    """Keep the policy's dropout on while it samples (published), with the same masks when it is evaluated."""

    def longest_sample(self, batch: Batch) -> int:
        """Tokens after which eos is forced."""
        return min(batch.longest_reference + self.extra_length, self.max_length)

    def draw(
        self, batch: Batch, networks: Networks, reward_function: RewardFunction, moment: Moment
    ) -> Samples:
        """N samples a sentence from the current policy."""
        return self.sequences(batch, networks, moment, self.num_samples, self.longest_sample(batch))

    def sequences(
        self,
        batch: Batch,
        networks: Networks,
        moment: Moment,
        num: int,
        max_length: int,
        choice: Callable[[Tensor], Choice] | None = None,
    ) -> Samples:
        """``num`` sequences a sentence; ``choice`` of uniforms [M, T] chooses in the policy's place."""
        policy = networks.sampling_policy()
        uniforms = moment.uniforms("samples", batch, num, max_length)
        dropout: Tensor | None = uniforms.new_ones(1, 1, 1).expand(*uniforms.shape, policy.hidden_size)
        if self.sample_dropout:
            dropout = moment.dropout_mask("sample dropout", batch, num, max_length, policy)
        memory, kept = encoded_source(batch, networks)
        drawn = sample(
            policy,
            memory.repeat(num),
            uniforms,
            num_per_example=num,
            dropout_mask=dropout,
            choice=choice(uniforms) if choice else None,
        )
        return replace(drawn, memory=kept)


def with_last(samples: Samples, last: Samples) -> Samples:
    """Samples with one more sequence of each example, at its end: N + 1.

    Args:
        samples: M = B N sequences drawn from the policy.
        last: B sequences; without dropout masks they stand for a pass without dropout, and their
            log-probabilities must be there.
    """
    N, B = samples.num_per_example, len(last.mask)
    T = max(samples.mask.shape[1], last.mask.shape[1])
    assert samples.log_probs is not None
    assert last.log_probs is not None

    def joined(first: Tensor, more: Tensor, padding: float) -> Tensor:
        shape = (B, N + 1, T, *first.shape[2:])
        whole = first.new_full(shape, padding)
        whole[:, :N, : first.shape[1]] = first.unflatten(0, (B, N))
        whole[:, N, : more.shape[1]] = more
        return whole.flatten(0, 1)

    mask = samples.dropout_mask
    if mask is not None:
        own = last.dropout_mask if last.dropout_mask is not None else mask.new_ones(B, T, mask.shape[2])
        mask = joined(mask, own, 1.0)
    return replace(
        samples,
        inputs=joined(samples.inputs, last.inputs, PAD),
        targets=joined(samples.targets, last.targets, PAD),
        mask=joined(samples.mask, last.mask, False),
        forced_eos=joined(samples.forced_eos, last.forced_eos, False),
        num_per_example=N + 1,
        dropout_mask=mask,
        log_probs=joined(samples.log_probs, last.log_probs, 0.0),
    )


def without_last(samples: Samples) -> Samples:
    """Samples without the last sequence of each example: N - 1."""
    N = samples.num_per_example
    kept = torch.arange(len(samples.mask), device=samples.mask.device) % N < N - 1
    dropout, log_probs = samples.dropout_mask, samples.log_probs
    return replace(
        samples,
        inputs=samples.inputs[kept],
        targets=samples.targets[kept],
        mask=samples.mask[kept],
        forced_eos=samples.forced_eos[kept],
        num_per_example=N - 1,
        dropout_mask=None if dropout is None else dropout[kept],
        log_probs=None if log_probs is None else log_probs[kept],
    )


def to_go(values: Tensor, samples: Samples) -> Tensor:
    """Sum of values [M, T], 0 in padding, from each row's step to the end of its sequence: [n]."""
    return values.flip(1).cumsum(1).flip(1)[samples.mask]


def steps(samples: Samples) -> Tensor:
    """Step of each row in its sequence [n], from 0."""
    return torch.arange(samples.mask.shape[1], device=samples.mask.device).expand_as(samples.mask)[
        samples.mask
    ]


def later_surprise(samples: Samples) -> Tensor:
    """-sum_{k > t} log pi(y_k) [n]: with tau before it, what entropy adds to the return from y_t on."""
    assert samples.log_probs is not None
    return samples.log_probs[samples.mask] - to_go(samples.log_probs, samples)


def ended_references(batch: Batch, num: int, T: int) -> Tensor:
    """The references' tokens and, from their end on, eos [M, T]: each ``num`` times in a row."""
    tokens = torch.full((len(batch.reference), T), EOS, device=batch.reference.device)
    words = batch.reference.masked_fill(~batch.reference_mask, EOS)[:, :T]
    tokens[:, : words.shape[1]] = words
    return tokens.repeat_interleave(num, 0)


def sample_metrics(samples: Samples, payoffs: Tensor) -> MetricSums:
    """What is logged of drawn sequences with payoffs R(y) [M]."""
    n, sequences = float(samples.mask.sum()), float(len(samples.mask))
    return {
        "tokens": (n, 1.0),
        "payoff": (payoffs.sum().item(), sequences),
        "sample_length": (n - sequences, sequences),
        "forced_eos": (float(samples.forced_eos.sum()), sequences),
    }
