"""Makes the credit of sentences: sequences, what their tokens earned, what policy and critic say of them.

A token's reward is r_t = scale (R(y_{1:t}) - R(y_{1:t-1})) (Dai et al. 2018 Eq. 13), scaled as in training;
those of a sequence add up to scale (R(y) - R(empty)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raysq.algorithms import Algorithm, Networks, Raml, Vaml
from raysq.algorithms.base import reference_samples
from raysq.algorithms.moment import Moment
from raysq.algorithms.on_policy import to_go
from raysq.algorithms.rows import Rows, by_sequence, source_weights
from raysq.config import DecodingConfig
from raysq.credit.records import SentenceCredit, SequenceCredit, TokenCredit, Weights, WordCredit
from raysq.credit.sequences import Shown, as_samples, merged, of_policy, of_samples
from raysq.credit.values import Values, best_words, chosen, entropy, values_of
from raysq.data.batches import collate
from raysq.data.split import Split
from raysq.data.vocabulary import Vocabulary
from raysq.rewards.base import pack
from raysq.rewards.scoring import LocalScorer
from raysq.types import Batch, Rewards, Samples


@dataclass(frozen=True, slots=True)
class CreditView:
    """A trained stage, and how much of its sequences is shown."""

    networks: Networks
    algorithm: Algorithm
    """What trained them."""
    scorer: LocalScorer
    decoding: DecodingConfig
    vocabulary: Vocabulary
    """Of the target."""
    num_samples: int = 3
    """Draws of the policy for a sentence."""
    num_alternatives: int = 5
    """Words beside each token, by pi and by Q."""
    seed: int = 1
    """Of the draws; a sentence's are the same whichever others are shown."""

    @torch.no_grad()
    def sentence(self, split: Split, position: int) -> SentenceCredit:
        """A sentence's credit: its reference, what the policy makes of it, what the stage draws around it."""
        policy = self.networks.policy
        batch = collate(split, np.array([position])).to(str(policy.output.weight.device))
        moment = Moment(self.seed, "credit", position)
        found = [
            *of_samples("reference", reference_samples(batch)),
            *of_policy(policy, batch, self.decoding, self.num_samples, moment),
        ]
        drawn = None
        if isinstance(self.algorithm, Raml | Vaml):
            drawn = self.algorithm.draw(batch, self.networks, self.scorer.reward_function, moment)
            found += of_samples("draw", drawn)
        shown = merged(found)
        samples = as_samples(shown, batch.source.device)
        rewards = self.scorer.submit(samples, batch.references).result()
        values = values_of(self.networks, self.algorithm, batch, samples)
        weights = self._weights(batch, drawn, shown, values, samples) if drawn else [None] * len(shown)
        tokens = self._tokens(samples, rewards, values)
        return SentenceCredit(
            position,
            split.source_text(position),
            split.target_text(position),
            float(rewards.scale[0]),
            float(self.scorer.reward_function.empty_score(pack(batch.references))[0]),
            tuple(
                SequenceCredit(
                    one.labels,
                    float(rewards.sequence[m]),
                    float(rewards.token[m].sum()),
                    weights[m],
                    tuple(next(tokens) for _ in one.tokens),
                )
                for m, one in enumerate(shown)
            ),
        )

    def _tokens(self, samples: Samples, rewards: Rewards, values: Values) -> Iterator[TokenCredit]:
        """The tokens of all sequences, in the order of rows."""
        tokens, pi, critic = Rows.of(samples).tokens, values.pi, values.critic
        value = advantage = target_entropy = [None] * len(tokens)
        by_q: Sequence[tuple[WordCredit, ...]] = [()] * len(tokens)
        if critic is not None:
            value = critic.value.tolist()
            advantage = (chosen(critic.q, tokens) - critic.value).tolist()
            target_entropy = entropy(critic.target).tolist()
            by_q = self._words(best_words(critic.q, self.num_alternatives), values)
        columns = zip(
            [word for (word,) in self._words(tokens.unsqueeze(1), values)],
            rewards.token[samples.mask].tolist(),
            to_go(rewards.token, samples).tolist(),
            entropy(pi).tolist(),
            value,
            advantage,
            target_entropy,
            self._words(best_words(pi, self.num_alternatives), values),
            by_q,
            strict=True,
        )
        return (TokenCredit(*row) for row in columns)

    def _words(self, ids: Tensor, values: Values) -> list[tuple[WordCredit, ...]]:
        """Some words [n, k] of every row, with what is known of them there."""
        critic, nothing = values.critic, [[None] * ids.shape[1]] * len(ids)
        columns = zip(
            [self.vocabulary.decode(words) for words in ids.tolist()],
            values.pi.gather(1, ids).tolist(),
            nothing if critic is None else critic.q.gather(1, ids).tolist(),
            nothing if critic is None else critic.target.gather(1, ids).tolist(),
            strict=True,
        )
        return [tuple(WordCredit(*word) for word in zip(*row, strict=True)) for row in columns]

    def _weights(
        self, batch: Batch, drawn: Samples, shown: Sequence[Shown], values: Values, samples: Samples
    ) -> list[Weights | None]:
        """Shares of the shown sequences among the M drawn ones; one drawn twice has both of its shares."""
        assert isinstance(self.algorithm, Raml | Vaml)
        rewards, M = self.scorer.submit(drawn, batch.references).result(), len(drawn.mask)
        places = {(one.tokens, one.forced): m for m, one in enumerate(shown)}
        place = torch.tensor([places[one.tokens, one.forced] for one in of_samples("draw", drawn)])

        def shares(weights: Tensor) -> list[float]:
            nothing = torch.zeros(len(shown), dtype=weights.dtype)
            return nothing.index_add(0, place, weights.cpu()).tolist()

        trained = shares(self.algorithm.weights(drawn, rewards.sequence))
        exact: Sequence[float | None] = [None] * len(shown)
        oracle = exact
        if isinstance(self.algorithm, Vaml) and values.critic is not None:
            tau = self.algorithm.tau
            log_q = (chosen(values.critic.q, Rows.of(samples).tokens) - values.critic.value) / tau
            exact = shares(source_weights(rewards.scale * rewards.sequence / tau, M))
            oracle = shares(source_weights(by_sequence(log_q, samples)[place], M))
        rows = enumerate(zip(trained, exact, oracle, strict=True))
        return [Weights(*row) if m in place else None for m, row in rows]
