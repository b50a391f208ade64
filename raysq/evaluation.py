"""Decodes a split and scores it; measures how far a critic can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from raysq.algorithms import Networks
from raysq.algorithms.base import (
    Predicted,
    Residual,
    critic_head,
    critic_input,
    policy_head,
    reference_samples,
)
from raysq.algorithms.moment import Moment
from raysq.algorithms.on_policy import steps, to_go
from raysq.algorithms.rows import Rows, critic_features, policy_features
from raysq.calibration import calibration
from raysq.config import DecodingConfig
from raysq.data.batches import collate, evaluation_batches
from raysq.data.corpus import SplitName
from raysq.data.shards import Corpus
from raysq.data.split import Split
from raysq.decoding import beam_search, sample
from raysq.losses import chosen_q, negative_log_likelihoods, state_value, td_targets, vocabulary_values
from raysq.metrics import text_scores
from raysq.models import EncoderDecoder
from raysq.rewards import SentenceBleu
from raysq.rewards.scoring import LocalScorer
from raysq.rewards.settings import RewardSettings
from raysq.training.collective import Collective
from raysq.training.step import Diverged
from raysq.types import Batch, Memory

CLOSING_SAMPLES = 5
"""Samples a sentence in the closing evaluation's mean sample BLEU."""


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Evaluates networks on a split, each learner its share; every learner gets the whole result."""

    corpus: Corpus
    decoding: DecodingConfig
    collective: Collective
    device: str
    seed: int
    reward: RewardSettings
    """What trains; what critics predict."""

    def batches(self, split: Split) -> list[Batch]:
        """This learner's share of a split, by length."""
        parts = evaluation_batches(split, self.decoding.batch_size)
        mine = parts[self.collective.rank :: self.collective.world_size]
        return [collate(split, ids).to(self.device) for ids in mine]

    def decode(
        self, policy: EncoderDecoder, split_name: SplitName, beam_size: int | None = None
    ) -> list[str]:
        """Beam-search hypotheses of the whole split, in its order, as tokenised text."""

        def encoded(batch: Batch) -> Memory:
            return policy.encode(batch.source, batch.source_mask)

        return self._decode(policy, encoded, split_name, beam_size or self.decoding.beam_size, 1.0)

    @torch.no_grad()
    def _decode(
        self,
        network: EncoderDecoder,
        encoded: Callable[[Batch], Memory],
        split_name: SplitName,
        beam_size: int,
        temperature: float,
    ) -> list[str]:
        split, vocabulary = self.corpus.splits[split_name], self.corpus.target_vocabulary
        found: list[tuple[int, str]] = []
        for batch in self.batches(split):
            results = beam_search(
                network,
                encoded(batch),
                beam_size=beam_size,
                max_length=self.decoding.max_length,
                length_exponent=self.decoding.length_normalisation,
                temperature=temperature,
            )
            for example, hypotheses in zip(batch.example_ids.tolist(), results, strict=True):
                if not hypotheses:
                    raise Diverged(f"on {split_name} the words' probabilities are not finite")
                found.append((example, " ".join(vocabulary.decode(hypotheses[0].tokens))))
        return [text for _, text in sorted(self.collective.gather(found))]

    @torch.no_grad()
    def oracle_scores(self, networks: Networks, algorithm: Residual, split_name: SplitName) -> dict[str, Any]:
        """Scores (``oracle_bleu`` ..) of sequences decoded from softmax(Q / tau), given the reference.

        And ``td_error``, the mean |TD error| on what ``algorithm`` draws: references and noisy copies.
        """
        assert networks.critic is not None
        oracle, split = networks.critic, self.corpus.splits[split_name]

        def encoded(batch: Batch) -> Memory:
            return oracle.encode(*critic_input(batch))

        hypotheses = self._decode(oracle, encoded, split_name, self.decoding.beam_size, algorithm.tau)
        scores = self._text_scores(hypotheses, split)
        scorer = LocalScorer(self.reward.function(), self.reward.scale_by_length)
        moment = Moment(self.seed, "evaluation", 0)
        error, tokens = 0.0, 0.0
        for batch in self.batches(split):
            drawn = algorithm.draw(batch, networks, scorer.reward_function, moment)
            rewards = scorer.submit(drawn, batch.references).result()
            _, values = algorithm.residual(oracle, batch, drawn, rewards)
            error += float(values["td_error"].abs().sum())
            tokens += len(values["td_error"])
        error, tokens = self.collective.sums([error, tokens], self.device)
        told = {f"oracle_{k}": scores[k] for k in ("bleu", "rouge", "length_ratio") if k in scores}
        return told | {"td_error": error / tokens}

    def policy_scores(
        self,
        policy: EncoderDecoder,
        split_name: SplitName,
        *,
        closing: bool = False,
        beam_size: int | None = None,
    ) -> tuple[dict[str, Any], list[str]]:
        """Scores of the decoded split, mean sentence BLEU of samples, perplexity; and the hypotheses.

        ``closing``: more samples a sentence; ``beam_size``: another than that of the settings.
        """
        scores, hypotheses = self.decoded_scores(policy, split_name, beam_size)
        num_samples = CLOSING_SAMPLES if closing else 1
        return scores | self._sample_scores(policy, self.corpus.splits[split_name], num_samples), hypotheses

    def decoded_scores(
        self, policy: EncoderDecoder, split_name: SplitName, beam_size: int | None = None
    ) -> tuple[dict[str, Any], list[str]]:
        """Corpus BLEU of the decoded split, with the task's other metrics; and the hypotheses."""
        hypotheses = self.decode(policy, split_name, beam_size)
        return self._text_scores(hypotheses, self.corpus.splits[split_name]), hypotheses

    def _text_scores(self, hypotheses: Sequence[str], split: Split) -> dict[str, Any]:
        """Of tokenised text, against all references of each source."""
        references = [split.reference_texts(i) for i in range(len(split))]
        return text_scores(self.decoding.scoring, hypotheses, references)

    @torch.no_grad()
    def _sample_scores(self, policy: EncoderDecoder, split: Split, num_samples: int) -> dict[str, float]:
        """Mean sentence BLEU (percent) and length of samples, no dropout; perplexity of references."""
        scorer = LocalScorer(SentenceBleu())
        bleu, words, log_loss, tokens = 0.0, 0.0, 0.0, 0.0
        for i, batch in enumerate(self.batches(split)):
            memory = policy.encode(batch.source, batch.source_mask)
            place = i * self.collective.world_size + self.collective.rank
            moment = Moment(self.seed, "evaluation", place)
            T = batch.longest_reference + 10
            uniforms = moment.uniforms("samples", batch, num_samples, T)
            drawn = sample(policy, memory.repeat(num_samples), uniforms, num_per_example=num_samples)
            bleu += float(scorer.submit(drawn, batch.references).result().sequence.sum())
            words += float(drawn.lengths.sum())
            gold = reference_samples(batch)
            features = policy.features(memory, gold.inputs)[gold.mask]
            losses = negative_log_likelihoods(policy_head(policy, features), gold.targets[gold.mask])
            log_loss += float(losses.sum())
            tokens += len(losses)
        bleu, words, log_loss, tokens = self.collective.sums([bleu, words, log_loss, tokens], self.device)
        n = len(split) * num_samples
        return {
            "sample_bleu": 100 * bleu / n,
            "sample_length": words / n,
            "perplexity": math.exp(min(log_loss / tokens, 700.0)),
        }

    @torch.no_grad()
    def critic_scores(
        self, networks: Networks, algorithm: Predicted, split_name: SplitName
    ) -> dict[str, Any]:
        """How well the critic predicts the returns of what ``algorithm`` draws; V from the online critic.

        Returns:
            ``td_error`` mean |Qhat - Q|; ``explained`` the share of the variance of the Monte-Carlo return
            that Q explains, 1 - mean (G - Q)^2 / var G; ``correlation`` of Q and G, over all positions and
            by position; G_t = r_t + sum_{k > t} (r_k - tau log pi(y_k)), the return whose mean is Q;
            ``calibration``, the rows that ``raysq.calibration`` makes of Q and G.
        """
        scorer = LocalScorer(self.reward.function(), self.reward.scale_by_length)
        networks = replace(networks, delayed_policy=None)  # what is judged is the policy, not its past
        errors: list[float] = []
        points: list[tuple[int, float, float]] = []
        for i, batch in enumerate(self.batches(self.corpus.splits[split_name])):
            place = i * self.collective.world_size + self.collective.rank
            moment = Moment(self.seed, "evaluation", place)
            batch_errors, batch_points = _critic_points(algorithm, networks, batch, moment, scorer)
            errors += batch_errors
            points += batch_points
        errors, points = self.collective.gather(errors), self.collective.gather(points)
        if not points:  # the policy ends every sentence at once
            return {
                "td_error": float(np.mean(errors)),
                "explained": 0.0,
                "correlation": 0.0,
                "correlation_by_position": {},
                "calibration": [],
            }
        position, q, returns = (np.array(column) for column in zip(*points, strict=True))
        rows = calibration(position + 1, q, returns)
        return {
            "td_error": float(np.mean(errors)),
            "explained": float(1 - np.mean((returns - q) ** 2) / max(returns.var(), 1e-12)),
            "correlation": rows[0]["correlation"],
            "correlation_by_position": {row["position"]: row["correlation"] for row in rows[1:]},
            "calibration": rows,
        }


def _critic_points(
    algorithm: Predicted,
    networks: Networks,
    batch: Batch,
    moment: Moment,
    scorer: LocalScorer,
) -> tuple[list[float], list[tuple[int, float, float]]]:
    """|TD error| of every row; (position, Q, Monte-Carlo return) of every word (eos earns nothing)."""
    critic, _ = networks.critics()
    drawn = algorithm.draw(batch, networks, scorer.reward_function, moment)
    rewards = scorer.submit(drawn, batch.references).result()
    rows = Rows.of(drawn)
    features = critic_features(critic, batch, drawn)
    values = vocabulary_values(
        partial(
            state_value, tau=algorithm.target_tau(), restrict_forced_eos=algorithm.forced_eos == "restricted"
        ),
        (
            policy_head(networks.policy, policy_features(networks.policy, batch, drawn, moment)),
            critic_head(critic, features),
        ),
        rows=(rows.forced_eos, rows.tokens),
    )
    q = chosen_q(features, critic.output.weight, critic.output.bias, rows.tokens)
    token_rewards = rewards.token[drawn.mask].to(q.dtype)
    error = (td_targets(token_rewards, values["state_value"], rows.last) - q).abs()
    soft = torch.zeros_like(drawn.mask, dtype=q.dtype)
    soft[drawn.mask] = token_rewards - algorithm.target_tau() * values["log_prob"]
    returns = to_go(soft, drawn) + algorithm.target_tau() * values["log_prob"]
    position = steps(drawn)
    word = ~rows.last
    triples = zip(position[word].tolist(), q[word].tolist(), returns[word].tolist(), strict=True)
    return error.tolist(), list(triples)
