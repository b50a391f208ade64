"""A language small enough to enumerate: every sequence of at most 3 of 2 or 3 words, eos forced after 3.

Rows are the steps of all sequences, as an algorithm that had drawn each of them once would see them; a state
is a prefix, and a policy or a critic is a table [states, V].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysq.algorithms.rows import Rows
from raysq.decoding.sampling import shift_right
from raysq.losses import state_value, td_targets
from raysq.rewards.base import PackedReferences, RewardFunction
from raysq.rewards.bleu import SentenceBleu
from raysq.rewards.scoring import LocalScorer, ScoringBatch, payoffs
from raysq.types import EOS, FIRST_ACTION, PAD, UNK, Rewards, Samples

Words = tuple[int, ...]
MAX_WORDS = 3


class TablePayoff:
    """A random payoff for every prefix, the empty one too, so that R(empty) is not 0."""

    def __init__(self, prefixes: Sequence[Words]) -> None:
        drawn = np.random.default_rng(1).normal(size=len(prefixes)).tolist()
        self.table = dict(zip(prefixes, drawn, strict=True))

    def prefix_scores(
        self, hypotheses: NDArray[np.int32], lengths: NDArray[np.int64], references: PackedReferences
    ) -> NDArray[np.float64]:
        rows = [row[:length].tolist() for row, length in zip(hypotheses, lengths, strict=True)]
        steps = range(1, hypotheses.shape[1] + 1)
        return np.array([[self.table[tuple(row[:t])] for t in steps] for row in rows])

    def empty_score(self, references: PackedReferences) -> NDArray[np.float64]:
        return np.full(len(references), self.table[()])


@dataclass(frozen=True)
class Language:
    """All sequences with what they earn."""

    prefixes: list[Words]
    """The states, shortest first."""
    samples: Samples
    """Sequence m is prefix m and eos."""
    rows: Rows
    rewards: Rewards
    payoff: Tensor
    """[states] scaled R of each prefix, which is also that of the sequence it ends in."""
    states: Tensor
    """[n] the state each row starts from."""
    sequences: Tensor
    """[n] the sequence each row belongs to."""
    reference: Words

    @property
    def V(self) -> int:
        return 1 + max(word for words in self.prefixes for word in words)

    @property
    def row_rewards(self) -> Tensor:
        """[n]"""
        return self.rewards.token[self.samples.mask]

    @property
    def forced(self) -> Tensor:
        """[states] True where only eos is left."""
        return torch.tensor([len(words) == MAX_WORDS for words in self.prefixes])

    def within(self, state: int) -> list[int]:
        """The sequences that begin with a prefix."""
        words = self.prefixes[state]
        return [m for m, other in enumerate(self.prefixes) if other[: len(words)] == words]

    def random_logits(self, seed: int = 1) -> Tensor:
        """A policy [states, V] that gives pad and bos nothing."""
        logits = torch.randn(len(self.prefixes), self.V, generator=torch.Generator().manual_seed(seed))
        logits[:, :FIRST_ACTION] = -1e4
        return logits

    def row_log_probs(self, logits: Tensor) -> Tensor:
        """log pi(y_t | y_{<t}) [n]; 0 where eos is forced."""
        log_pi = torch.log_softmax(logits[:, FIRST_ACTION:], 1)
        chosen = log_pi[self.states, self.rows.tokens - FIRST_ACTION]
        return torch.where(self.rows.forced_eos, torch.zeros_like(chosen), chosen)

    def log_probs(self, logits: Tensor) -> Tensor:
        """log pi(y) of every sequence."""
        return torch.zeros(len(self.prefixes)).index_add(0, self.sequences, self.row_log_probs(logits))

    def optimal_q(self, tau: float) -> Tensor:
        """Q*(s, w) = r + tau logsumexp(Q*(s', .) / tau) [states, V], longest states first.

        -inf where w is not legal: pad, bos, and after 3 words everything but eos.
        """
        q = torch.full((len(self.prefixes), self.V), -torch.inf)
        rewards = torch.zeros_like(q)
        rewards[self.states, self.rows.tokens] = self.row_rewards
        number = {words: state for state, words in enumerate(self.prefixes)}
        for state in reversed(range(len(self.prefixes))):
            q[state, EOS] = rewards[state, EOS]
            for word in range(EOS + 1, self.V):
                following = number.get((*self.prefixes[state], word))
                if following is not None:
                    q[state, word] = rewards[state, word] + tau * torch.logsumexp(q[following] / tau, 0)
        return q

    def soft_q(self, logits: Tensor, target_tau: float) -> Tensor:
        """The fixed point [states, V] of Eq. 19 for a policy, by the functions the algorithms use.

        Backups of all rows are repeated until nothing changes, which takes one for each step there is.
        """
        q = torch.zeros(len(self.prefixes), self.V)
        for _ in range(MAX_WORDS + 2):
            before = q.clone()
            values = state_value(
                logits[self.states], q[self.states], self.rows.forced_eos, self.rows.tokens, tau=target_tau
            )
            targets = td_targets(self.row_rewards, values["state_value"], self.rows.last)
            q[self.states, self.rows.tokens] = targets
        assert torch.equal(q, before)
        return q


def make_language(num_words: int, reference: Words | None) -> Language:
    """With a reference the payoff is BLEU, scaled by its length; without, a random table."""
    vocabulary = range(UNK, UNK + num_words)
    prefixes = [words for length in range(MAX_WORDS + 1) for words in product(vocabulary, repeat=length)]
    targets = torch.tensor([[*w, EOS, *[PAD] * (MAX_WORDS - len(w))] for w in prefixes])
    mask = targets != PAD
    forced = torch.zeros_like(mask)
    forced[:, MAX_WORDS] = mask[:, MAX_WORDS]
    samples = Samples(shift_right(targets, mask), targets, mask, forced, num_per_example=len(prefixes))
    function: RewardFunction = SentenceBleu(match_unknown=True) if reference else TablePayoff(prefixes)
    references = [[np.array(reference or (UNK,), np.int32)]]
    rewards = LocalScorer(function).submit(samples, references).result()
    batch = ScoringBatch.of(samples, references)
    ends = payoffs(function, batch)[np.arange(len(prefixes)), batch.lengths]
    number = {words: state for state, words in enumerate(prefixes)}
    return Language(
        prefixes=prefixes,
        samples=samples,
        rows=Rows.of(samples),
        rewards=rewards,
        payoff=torch.from_numpy(ends) * rewards.scale,
        states=torch.tensor([number[words[:t]] for words in prefixes for t in range(len(words) + 1)]),
        sequences=torch.tensor([m for m, words in enumerate(prefixes) for _ in range(len(words) + 1)]),
        reference=reference or (),
    )


@pytest.fixture(
    params=[(2, None), (3, None), (2, (3, 4, 4)), (3, (5, 3))],
    ids=["table-3", "table-4", "bleu-3", "bleu-4"],
)
def language(request: pytest.FixtureRequest, float64: None) -> Language:
    """|V| = 3 and 4 with eos; a random payoff with R(empty) != 0, and BLEU."""
    return make_language(*request.param)


@pytest.fixture(params=[(2, (3, 4, 4)), (3, (5, 3))], ids=["3 words", "2 words"])
def language_with_reference(request: pytest.FixtureRequest, float64: None) -> Language:
    """BLEU alone, which its reference alone maximises."""
    return make_language(*request.param)
