"""Data noising: likelihood of references with random words (Xie et al. 2017; Tan et al. 2019, section 3.5).

Each word of the reference is replaced, with probability gamma, by a draw from the unigram distribution u of
the training references; eos stays. In Tan et al.'s framework it is RAML with tau = 1 and the payoff of Eq. 9,

    R(y) = log [ gamma^k (1 - gamma)^(T - k) prod_{y_t != y*_t} u(y_t) ]

for the y that differ from y* in k of its T words, -infinity at other lengths: the whole sequence is noise,
what the decoder reads and what it is to emit (``side`` both). Xie et al. noise what it reads (inputs).

Limit: rate 0 is MLE. Departures: 1. Tan et al. publish neither a rate nor a result: 0.1 is our choice, the
optimiser that of MLE. 2. A draw from u may be the word that it replaces. 3. The source is not noised.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from raysq.algorithms.base import Networks
from raysq.algorithms.mle import Mle
from raysq.algorithms.moment import Moment
from raysq.proposals import UnigramNoise, propose
from raysq.rewards.base import RewardFunction
from raysq.types import Batch, Samples


class Noising(Mle):
    """Maximum likelihood of noisy references, by the schedule of maximum likelihood."""

    rate: float = Field(0.1, ge=0, le=1)
    """gamma: probability that a word is replaced; no published value."""
    side: Literal["inputs", "both"] = "both"
    """What is noisy: the words that are read and emitted (Tan et al.), or only read (Xie et al.)."""

    def draw(
        self, batch: Batch, networks: Networks, reward_function: RewardFunction, moment: Moment
    ) -> Samples:
        """The references with noise, drawn anew in every epoch."""
        noise = UnigramNoise(rate=self.rate)
        noisy = propose(noise, batch, 1, moment.of_epoch, keep_reference=False, with_density=False)
        if self.side == "both":
            return noisy
        return replace(noisy, targets=batch.reference[:, : noisy.targets.shape[1]])
