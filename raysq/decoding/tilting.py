"""Tokens drawn with the reward in mind: by the policy, by the reward, or by both at once; or simply given.

Where both have a say it is one factor of Eq. 4 of Tan et al. (2019) at beta = 0, normalised by itself:

    q(y_t = w | y_{<t}) ~ pi(w | y_{<t}) exp{c Delta R(w | y_{<t})}
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysq.decoding.sampling import Choice, inverse_cdf
from raysq.models import EncoderDecoder
from raysq.rewards.base import PackedReferences, RewardFunction
from raysq.types import EOS, FIRST_ACTION, PAD, UNK


@dataclass(frozen=True, slots=True)
class Tilt:
    """c times what each next word earns, Delta R(w | y_{<t}) = R(y_{<t} + w) - R(y_{<t}), less penalties.

    eos earns 0: a sequence has the payoff of its words. Measured from what a word of no reference earns, so
    that all words but a few get 0.
    """

    reward_function: RewardFunction
    references: PackedReferences
    """Of each of the M sequences."""
    reward_factor: float
    """c, in logits per unit of unscaled payoff."""
    eos_penalty: float = 0.0
    """Off the reward of eos while there are fewer words than in the pair's own reference."""
    repetition_penalty: float = 0.0
    """Off the reward of the word that was drawn last."""

    def after(self, rows: Tensor, prefixes: Tensor) -> tuple[Tensor, Tensor]:
        """Words [n, K] and what to add to their logits [n, K] after the prefixes [n, t] of ``rows`` [n].

        A word stands once among the words of a row; the words are padded with pad.
        """
        words = prefixes.to("cpu", torch.int32).numpy()
        n, t = words.shape
        references = _of_rows(self.references, rows.cpu().numpy())
        found = self.reward_function.extension_rewards(words, np.full(n, t), references)
        last = words[:, -1:] if t else np.full((n, 1), PAD, np.int32)
        repeated = found.words == last
        premature = t < references.own_lengths
        columns = (
            (found.words, found.rewards - found.default[:, None] - self.repetition_penalty * repeated),
            (np.full((n, 1), EOS), -(found.default + self.eos_penalty * premature)[:, None]),
            (np.where(repeated.any(1, keepdims=True), PAD, last), np.full((n, 1), -self.repetition_penalty)),
        )
        listed, gains = (np.concatenate(parts, axis=1) for parts in zip(*columns, strict=True))
        device, dtype = prefixes.device, torch.get_default_dtype()
        return (
            torch.as_tensor(listed, dtype=torch.long, device=device),
            torch.as_tensor(self.reward_factor * gains, dtype=dtype, device=device),
        )


def tilted(
    policy: EncoderDecoder, tilt: Tilt, uniforms: Tensor, by_policy: Tensor, by_reward: Tensor
) -> Choice:
    """Draws from softmax([by_policy] log pi + [by_reward] tilt) over the actions; by neither it is uniform.

    Logits are computed where ``by_policy`` is True alone, rewards where ``by_reward`` is. It gives the
    log-probabilities of its draws. The reward by itself never draws unk, and no proposal does.

    Args:
        policy: the network.
        tilt: what the reward has to say.
        uniforms: [M, T] numbers in [0, 1), one a token.
        by_policy: [M, T] where the policy has a say.
        by_reward: [M, T] where the reward has a say.
    """

    readout = policy.output.readout(exact=False)

    def choose(alive: Tensor, prefixes: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        t = prefixes.shape[1]
        asked = by_policy[alive, t]
        if asked.all():
            logits = readout.logits(features)
        else:
            logits = features.new_zeros(len(alive), len(readout.bias))
            logits[asked] = readout.logits(features[asked])
        rewarded = by_reward[alive, t].nonzero().squeeze(1)
        if len(rewarded):
            words, gains = tilt.after(alive[rewarded], prefixes[rewarded])
            logits[rewarded.unsqueeze(1), words] += gains
        logits[:, :FIRST_ACTION] = -torch.inf
        logits[~asked, UNK] = -torch.inf
        return inverse_cdf(logits, uniforms[alive, t])

    return choose


def given(choice: Choice, tokens: Tensor, where: Tensor) -> Choice:
    """``tokens`` [M, T] where ``where`` [M, T] is True, elsewhere what ``choice`` chooses.

    ``choice`` sees only the sequences that it is to choose for; a given token has log-probability 0.
    """

    def choose(alive: Tensor, prefixes: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        t = prefixes.shape[1]
        token = tokens[alive, t]
        log_prob = features.new_zeros(len(alive))
        rest = (~where[alive, t]).nonzero().squeeze(1)
        if len(rest):
            token[rest], log_prob[rest] = choice(alive[rest], prefixes[rest], features[rest])
        return token, log_prob

    return choose


def _of_rows(references: PackedReferences, rows: NDArray[np.int64]) -> PackedReferences:
    """The references of some hypotheses, in their order."""
    per_row = np.diff(references.starts)[rows]
    chosen = _ranges(references.starts[rows], per_row)
    lengths = np.diff(references.offsets)[chosen]
    tokens = references.tokens[_ranges(references.offsets[chosen], lengths)]
    return PackedReferences(tokens, np.r_[0, lengths.cumsum()], np.r_[0, per_row.cumsum()])


def _ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """starts_i, starts_i + 1, .. (lengths_i of them), one range after another."""
    before = lengths.cumsum() - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())
