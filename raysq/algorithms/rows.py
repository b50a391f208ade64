"""From samples to rows: the valid positions that losses read, sequence after sequence."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.profiler import record_function

from raysq.algorithms.base import critic_input
from raysq.algorithms.moment import Moment
from raysq.models import EncoderDecoder
from raysq.types import Batch, Samples


class Rows(NamedTuple):
    """Valid positions of the samples, in the order in which ``x[samples.mask]`` gives them."""

    tokens: Tensor
    """[n]"""
    forced_eos: Tensor
    """[n]"""
    last: Tensor
    """[n] True at each sequence's eos."""

    @classmethod
    def of(cls, samples: Samples) -> Rows:
        """Rows of the samples."""
        last = samples.mask.clone()
        last[:, :-1] &= ~samples.mask[:, 1:]
        return cls(samples.targets[samples.mask], samples.forced_eos[samples.mask], last[samples.mask])


def by_row(values: Tensor, samples: Samples) -> Tensor:
    """A number of each sequence [M] at each of its rows [n]."""
    return values.repeat_interleave(samples.mask.sum(1))


def by_sequence(values: Tensor, samples: Samples) -> Tensor:
    """Sum over each sequence's rows [n]: [M]."""
    rows = values.new_zeros(samples.mask.shape)
    rows[samples.mask] = values
    return rows.sum(1)


def source_weights(scores: Tensor, num_per_example: int) -> Tensor:
    """Softmax of the scores [M] over the N samples of each example: [M], each example's sum to 1."""
    return torch.softmax(scores.view(-1, num_per_example), dim=1).flatten()


def policy_features(policy: EncoderDecoder, batch: Batch, samples: Samples, moment: Moment) -> Tensor:
    """Features [n, H] of the samples' valid positions, teacher-forced.

    Under the dropout masks of the samples; where these have none they are drawn, up to the longest reference
    of the batch (what is longer goes without dropout from there on).
    """
    mask = samples.dropout_mask
    if mask is None:
        mask = _fresh_dropout_mask(policy, batch, samples, moment)
    with record_function("features"):
        memory = samples.memory
        if memory is None:
            memory = policy.encode(batch.source, batch.source_mask)
        memory = memory.repeat(samples.num_per_example)
        return policy.features(memory, samples.inputs, mask)[samples.mask]


def _fresh_dropout_mask(
    policy: EncoderDecoder, batch: Batch, samples: Samples, moment: Moment
) -> Tensor | None:
    N, T = samples.num_per_example, samples.inputs.shape[1]
    # as wide on every rank, whatever its own samples are
    mask = moment.dropout_mask("mle dropout", batch, N, batch.longest_reference, policy)
    if mask is None or mask.shape[1] >= T:
        return None if mask is None else mask[:, :T]
    return torch.cat((mask, mask.new_ones(len(mask), T - mask.shape[1], mask.shape[2])), dim=1)


def critic_features(
    critic: EncoderDecoder, batch: Batch, samples: Samples, dropout_mask: Tensor | None = None
) -> Tensor:
    """Features [n, H] of the samples' valid positions, given the reference; dropout_mask [M, T, H]."""
    with record_function("features"):
        memory = critic.encode(*critic_input(batch)).repeat(samples.num_per_example)
        return critic.features(memory, samples.inputs, dropout_mask)[samples.mask]
