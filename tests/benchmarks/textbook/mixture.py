"""Draws of the interpolation algorithm as a textbook writes them: every expert over the whole vocabulary."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from raysq.algorithms import Interpolation
from raysq.algorithms.on_policy import ended_references
from raysq.rewards import PackedReferences, RewardFunction, pack
from raysq.types import BOS, EOS, PAD, UNK, Batch
from tests.benchmarks.textbook.sampling import Choose, ancestral


def by_expert(algorithm: Interpolation, batch: Batch, reward_function: RewardFunction, decays: int) -> Choose:
    """Each token by the policy, the reward or the reference, at random (Tan et al. 2019, Algorithm 1)."""
    assert not algorithm.per_step_z
    assert not algorithm.force_first_token
    N, T, mixture = algorithm.num_samples, algorithm.longest_sample(batch), algorithm.mixture(decays)
    of_reference = ended_references(batch, N, T)
    references = pack([of_one for of_one in batch.references for _ in range(N)])
    z = torch.rand(of_reference.shape, device=of_reference.device)

    def choose(prefixes: Tensor, log_probs: Tensor) -> Tensor:
        t = prefixes.shape[1]
        token = ancestral(prefixes, log_probs)
        if mixture.reward:
            tilt = reward_logits(algorithm, reward_function, references, prefixes, log_probs)
            of_reward = torch.multinomial(torch.softmax(tilt, dim=1), 1).squeeze(1)
            token = torch.where(z[:, t] < mixture.model, token, of_reward)
        return torch.where(z[:, t] < 1 - mixture.truth, token, of_reference[:, t])

    return choose


def reward_logits(
    algorithm: Interpolation,
    reward_function: RewardFunction,
    references: PackedReferences,
    prefixes: Tensor,
    log_probs: Tensor,
) -> Tensor:
    """c Delta R(w | y_{<t}) less penalties [M, V], for prefixes [M, t]; log_probs [M, V] tell the shape."""
    words, t = prefixes.to("cpu", torch.int32).numpy(), prefixes.shape[1]
    found = reward_function.extension_rewards(words, (words > EOS).sum(1), references)
    gains = np.repeat(found.default[:, None], log_probs.shape[1], axis=1)
    np.put_along_axis(gains, found.words, found.rewards, axis=1)  # what pads the words is no action
    gains[:, EOS] = np.where(t < references.own_lengths, -algorithm.eos_penalty, 0.0)
    if t:
        gains[np.arange(len(words)), words[:, -1]] -= algorithm.repetition_penalty
    logits = torch.as_tensor(algorithm.reward_factor * gains, dtype=log_probs.dtype, device=log_probs.device)
    logits[:, [PAD, BOS, UNK]] = float("-inf")
    return logits
