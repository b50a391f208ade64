"""Sampling as a textbook writes it: every row is kept until the last one has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from raysq.decoding.sampling import shift_right
from raysq.models import Seq2Seq
from raysq.types import BOS, EOS, PAD, Memory, Samples
from tests.benchmarks.textbook.network import policy_logits, step

Choose = Callable[[Tensor, Tensor], Tensor]
"""Next tokens [M] after the prefixes [M, t], by the policy's log-probabilities [M, V]."""


class Unrolled(NamedTuple):
    """What came of a pass of the policy, step by step."""

    samples: Samples
    log_probs: Tensor | None
    """[M, T, V] with their graph, where they were to be kept."""


def sample(
    policy: Seq2Seq,
    memory: Memory,
    max_length: int,
    *,
    lengths: Tensor | None = None,
    num_per_example: int = 1,
    dropout: bool = False,
) -> Samples:
    """Draw one sequence per row of ``memory`` by ``torch.multinomial``.

    Args:
        policy: the network.
        memory: M encoded sources (already repeated N times each).
        max_length: the token at this step is eos, forced.
        lengths: [M] tokens of each sequence, eos counted: it ends there and nowhere before.
        num_per_example: N, recorded in the samples.
        dropout: draw with the policy's dropout on.
    """
    with torch.no_grad():
        choose = ancestral if lengths is None else ending_at(lengths)
        return unroll(
            policy, memory, max_length, choose, num_per_example=num_per_example, dropout=dropout
        ).samples


def unroll(
    policy: Seq2Seq,
    memory: Memory,
    max_length: int,
    choose: Choose,
    *,
    num_per_example: int = 1,
    dropout: bool = False,
    keep: bool = False,
) -> Unrolled:
    """Let the policy go step by step over tokens that ``choose`` chooses, until all sequences have ended.

    Under gradients the pass has its graph; with ``keep`` the log-probabilities of all words are kept too.
    """
    M, device = len(memory.mask), memory.mask.device
    state = (memory.hidden, memory.cell)
    token = torch.full((M,), BOS, device=device)
    ended = torch.zeros(M, dtype=torch.bool, device=device)
    targets = torch.full((M, max_length), PAD, device=device)
    forced_eos = torch.zeros(M, max_length, dtype=torch.bool, device=device)
    kept = []
    for t in range(max_length):
        vectors, state = step(policy, memory, state, token, dropout=dropout)
        log_probs = F.log_softmax(policy_logits(policy, vectors), dim=1)
        if keep:
            kept.append(log_probs)
        if t < max_length - 1:
            token = choose(targets[:, :t], log_probs.detach())
        else:
            token = torch.full_like(token, EOS)
            forced_eos[:, t] = ~ended
        token = token.masked_fill(ended, PAD)
        targets[:, t] = token
        ended = ended | (token == EOS)
        if ended.all():
            break
    targets, forced_eos = targets[:, : t + 1], forced_eos[:, : t + 1]
    mask = targets != PAD
    samples = Samples(shift_right(targets, mask), targets, mask, forced_eos, num_per_example)
    return Unrolled(samples, torch.stack(kept, dim=1) if keep else None)


def ancestral(prefixes: Tensor, log_probs: Tensor) -> Tensor:
    """The policy's own choice."""
    return torch.multinomial(log_probs.exp(), 1).squeeze(1)


def ending_at(lengths: Tensor) -> Choose:
    """The policy's choice among words, and eos where a sequence has the length [M] that it is to have."""

    def choose(prefixes: Tensor, log_probs: Tensor) -> Tensor:
        probs = log_probs.exp()
        probs[:, EOS] = 0.0
        return torch.multinomial(probs, 1).squeeze(1).masked_fill(lengths == prefixes.shape[1] + 1, EOS)

    return choose


def given(targets: Tensor) -> Choose:
    """The tokens of these targets [M, T]."""

    def choose(prefixes: Tensor, log_probs: Tensor) -> Tensor:
        return targets[:, prefixes.shape[1]]

    return choose
