import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysq import evaluation
from raysq.algorithms import CriticTraining, Group, Mle, Networks, SoftQ
from raysq.algorithms.base import critic_input
from raysq.algorithms.moment import Moment
from raysq.config import DecodingConfig, NetworkConfig
from raysq.data.batches import collate, evaluation_batches
from raysq.data.shards import Corpus
from raysq.decoding import beam_search
from raysq.evaluation import Evaluator
from raysq.metrics import corpus_bleu, text_scores
from raysq.rewards import LocalScorer, SentenceBleu
from raysq.rewards.settings import RewardSettings
from raysq.training.collective import Collective
from raysq.training.state import make_networks
from raysq.types import EOS, FIRST_ACTION

SEED = 7
NETWORK = NetworkConfig(embedding_size=6, hidden_size=6, init_range=1.0, dropout=0.3)


def multi_bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """multi-bleu.perl, in percent; an unknown word of a reference matches nothing."""
    correct, total = [0] * 4, [0] * 4
    words = reference_words = 0
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        ours = hypothesis.split()
        theirs = [f"{w} of the reference" if w == "<unk>" else w for w in reference.split()]
        words, reference_words = words + len(ours), reference_words + len(theirs)
        for n in range(1, 5):
            found = Counter(tuple(ours[i : i + n]) for i in range(len(ours) - n + 1))
            there = Counter(tuple(theirs[i : i + n]) for i in range(len(theirs) - n + 1))
            correct[n - 1] += sum((found & there).values())
            total[n - 1] += sum(found.values())
    if 0 in correct:
        return 0.0
    brevity = math.exp(1 - reference_words / words) if words < reference_words else 1.0
    return 100 * brevity * math.prod(c / t for c, t in zip(correct, total, strict=True)) ** 0.25


@pytest.fixture
def networks(small_corpus: Corpus, float64: None) -> Networks:
    """All drawn, far from uniform; the policy seldom ends at once."""
    algorithm = CriticTraining()
    parents: dict[Group, Path | None] = {"policy": None, "critic": None}
    made = make_networks(small_corpus, NETWORK, algorithm, parents, seed=2, stage="test", device="cpu")
    made.policy.output.bias.data[EOS] = -1.0
    return made


@pytest.fixture
def make_evaluator(small_corpus: Corpus) -> Callable[..., Evaluator]:
    def make(batch_size: int = 9, seed: int = SEED, collective: Collective | None = None) -> Evaluator:
        decoding = DecodingConfig(beam_size=3, max_length=8, batch_size=batch_size)
        return Evaluator(small_corpus, decoding, collective or Collective(), "cpu", seed, RewardSettings())

    return make


def test_hypotheses_stand_in_the_order_of_the_split_whatever_the_batches(
    small_corpus: Corpus, networks: Networks, make_evaluator: Any, run_ranks: Any
) -> None:
    networks.policy.initialise(torch.Generator().manual_seed(3), 3.0)  # hypotheses of all kinds
    split, expected = small_corpus.splits["dev"], []
    for i in range(len(split)):
        alone = collate(split, np.array([i]))
        with torch.no_grad():
            memory = networks.policy.encode(alone.source, alone.source_mask)
        ((best,),) = beam_search(networks.policy, memory, beam_size=3, max_length=8)
        expected.append(" ".join(small_corpus.target_vocabulary.decode(best.tokens)))
    assert len(set(expected)) > 5
    assert [expected[i] for ids in evaluation_batches(split, 7) for i in ids] != expected
    for batch_size in (1, 7, 100):
        assert make_evaluator(batch_size).decode(networks.policy, "dev") == expected
    of_ranks = run_ranks(2, lambda group: make_evaluator(7, collective=group).decode(networks.policy, "dev"))
    assert of_ranks == [expected, expected]


def test_policy_scores_are_those_of_its_hypotheses(
    small_corpus: Corpus, networks: Networks, make_evaluator: Any
) -> None:
    split = small_corpus.splits["dev"]
    scores, hypotheses = make_evaluator().policy_scores(networks.policy, "dev")
    references = [split.target_text(i) for i in range(len(split))]
    assert scores["bleu"] == pytest.approx(multi_bleu(hypotheses, references))
    assert scores["length_ratio"] == pytest.approx(
        sum(len(h.split()) for h in hypotheses) / sum(len(r.split()) for r in references)
    )


@pytest.mark.parametrize("scoring", ["captions", "rouge"])
def test_images_are_scored_against_all_their_captions(
    small_captions: Corpus, float64: None, scoring: Any
) -> None:
    parents: dict[Group, Path | None] = {"policy": None, "critic": None}
    made = make_networks(small_captions, NETWORK, Mle(), parents, seed=2, stage="test", device="cpu")
    decoding = DecodingConfig(beam_size=3, max_length=6, scoring=scoring)
    evaluator = Evaluator(small_captions, decoding, Collective(), "cpu", SEED, RewardSettings())
    scores, hypotheses = evaluator.decoded_scores(made.policy, "dev")
    dev = small_captions.splits["dev"]
    references = [dev.reference_texts(i) for i in range(6)]
    assert {len(of_one) for of_one in references} == {3}
    assert scores == text_scores(scoring, hypotheses, references)
    assert scores != text_scores("bleu", hypotheses, references)


def test_samples_are_a_function_of_the_seed(networks: Networks, make_evaluator: Any, run_ranks: Any) -> None:
    def scores(seed: int = SEED, collective: Collective | None = None) -> dict[str, float]:
        evaluator = make_evaluator(seed=seed, collective=collective)
        found, _ = evaluator.policy_scores(networks.policy, "dev", closing=True)
        return {name: found[name] for name in ("sample_bleu", "sample_length", "perplexity")}

    first = scores()
    assert first["sample_bleu"] > 0
    torch.manual_seed(99)
    assert scores() == first
    other = scores(seed=SEED + 1)
    assert other["sample_bleu"] != first["sample_bleu"]
    assert other["perplexity"] == first["perplexity"]
    for of_rank in run_ranks(2, lambda group: scores(collective=group)):
        assert of_rank == pytest.approx(first, rel=1e-12)


def test_perplexity_of_an_indifferent_policy_is_the_number_of_actions(
    small_corpus: Corpus, networks: Networks, make_evaluator: Any
) -> None:
    networks.policy.output.weight.data.zero_()
    networks.policy.output.bias.data.zero_()
    scores, _ = make_evaluator().policy_scores(networks.policy, "dev")
    assert scores["perplexity"] == pytest.approx(len(small_corpus.target_vocabulary) - FIRST_ACTION)


def sampled_returns(
    corpus: Corpus, networks: Networks, algorithm: CriticTraining, batch_size: int
) -> list[tuple[list[list[float]], list[list[float]]]]:
    """Per batch the words' rewards and G_t = r_t + sum_{k > t} (r_k - tau log pi_k), sample by sample."""
    split, policy, result = corpus.splits["dev"], networks.policy, []
    for place, ids in enumerate(evaluation_batches(split, batch_size)):
        batch = collate(split, ids)
        drawn = algorithm.draw(batch, networks, SentenceBleu(), Moment(SEED, "evaluation", place))
        with torch.no_grad():
            memory = policy.encode(batch.source, batch.source_mask)
            features = policy.features(memory, drawn.inputs, drawn.dropout_mask)
            logits = features @ policy.output.weight.t() + policy.output.bias
        log_pi = torch.log_softmax(logits[..., FIRST_ACTION:], -1)
        rewards = LocalScorer(SentenceBleu()).submit(drawn, batch.references).result().token
        words, returns = [], []
        for m, row in enumerate(drawn.targets.tolist()):
            length = int(drawn.lengths[m])
            words.append(rewards[m, :length].tolist())
            G = []
            for t in range(length):
                total = float(rewards[m, t])
                for k in range(t + 1, length + 1):
                    log_prob = 0.0 if drawn.forced_eos[m, k] else float(log_pi[m, k, row[k] - FIRST_ACTION])
                    total += float(rewards[m, k]) - algorithm.tau * log_prob
                G.append(total)
            returns.append(G)
        result.append((words, returns))
    return result


@pytest.fixture
def algorithm() -> CriticTraining:
    """The entropy matters, and some samples reach the maximum length."""
    return CriticTraining(tau=0.4, num_samples=1, max_length=5)


def test_a_critic_that_knows_the_returns_explains_them(
    small_corpus: Corpus,
    networks: Networks,
    make_evaluator: Any,
    algorithm: CriticTraining,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches = sampled_returns(small_corpus, networks, algorithm, batch_size=9)
    known = iter([torch.tensor([g for G in returns for g in [*G, 0.0]]) for _, returns in batches])
    monkeypatch.setattr(evaluation, "chosen_q", lambda *arguments: next(known))
    # two samples a sentence in training: the scores are of one
    training = algorithm.model_copy(update={"num_samples": 2})
    scores, _ = training.scores(make_evaluator(9), networks, "dev", closing=False)
    assert next(known, None) is None
    assert scores["explained"] == pytest.approx(1.0, abs=1e-12)
    assert scores["correlation"] == pytest.approx(1.0, abs=1e-12)
    lengths = [len(G) for _, returns in batches for G in returns]
    often = [t for t in range(1, 5) if sum(length >= t for length in lengths) >= 30]
    assert list(scores["correlation_by_position"]) == often
    assert often
    assert list(scores["correlation_by_position"].values()) == pytest.approx([1.0] * len(often))


def test_half_the_return_explains_three_quarters_of_its_square(
    small_corpus: Corpus,
    networks: Networks,
    make_evaluator: Any,
    algorithm: CriticTraining,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Q = G / 2: correlation 1, explained 1 - mean (G / 2)^2 / var G."""
    batches = sampled_returns(small_corpus, networks, algorithm, batch_size=9)
    known = iter([torch.tensor([g / 2 for G in returns for g in [*G, 0.0]]) for _, returns in batches])
    monkeypatch.setattr(evaluation, "chosen_q", lambda *arguments: next(known))
    scores = make_evaluator(9).critic_scores(networks, algorithm, "dev")
    every = np.array([g for _, returns in batches for G in returns for g in G])
    assert scores["correlation"] == pytest.approx(1.0, abs=1e-12)
    assert scores["explained"] == pytest.approx(1 - (every**2).mean() / 4 / every.var())
    over_all, *by_position = scores["calibration"]
    assert (over_all["position"], over_all["n"]) == (0, len(every))
    assert over_all["mean_return"] == pytest.approx(every.mean())
    assert by_position
    for row in by_position:
        here = [
            G[row["position"] - 1] for _, returns in batches for G in returns if len(G) >= row["position"]
        ]
        assert (row["n"], row["mean_return"]) == (len(here), pytest.approx(np.mean(here)))
        assert [mean_q for mean_q, _, _ in row["bins"]] == pytest.approx([G / 2 for _, G, _ in row["bins"]])


def test_a_constant_critic_explains_nothing(
    small_corpus: Corpus, networks: Networks, make_evaluator: Any, algorithm: CriticTraining
) -> None:
    """Q = 0.3 everywhere and tau = 0: the TD error is |r_t| at a word and 0.3 at the end."""
    algorithm = algorithm.model_copy(update={"tau": 0.0})
    critic, _ = networks.critics()
    critic.output.weight.data.zero_()
    critic.output.bias.data.fill_(0.3)
    scores = make_evaluator(9).critic_scores(networks, algorithm, "dev")
    assert scores["explained"] <= 0
    assert scores["correlation"] == 0.0
    assert set(scores["correlation_by_position"].values()) == {0.0}
    batches = sampled_returns(small_corpus, networks, algorithm, batch_size=9)
    words = [abs(r) for rewards, _ in batches for row in rewards for r in row]
    assert scores["td_error"] == pytest.approx((sum(words) + 0.3 * 40) / (len(words) + 40))


def test_critic_scores_do_not_depend_on_the_learners(
    networks: Networks, make_evaluator: Any, run_ranks: Any, algorithm: CriticTraining
) -> None:
    alone = make_evaluator(9).critic_scores(networks, algorithm, "dev")
    shared = run_ranks(
        2, lambda group: make_evaluator(9, collective=group).critic_scores(networks, algorithm, "dev")
    )
    for of_rank in shared:
        assert of_rank.keys() == alone.keys()
        for mine, row in zip(of_rank["calibration"], alone["calibration"], strict=True):
            assert np.array(mine.pop("bins")) == pytest.approx(np.array(row["bins"]), rel=1e-9)
            assert mine == pytest.approx({k: row[k] for k in row if k != "bins"}, rel=1e-9)
        for name, value in alone.items():
            if name == "calibration":
                continue
            assert of_rank[name] == pytest.approx(value, rel=1e-9), name


def test_a_policy_that_ends_at_once(
    networks: Networks, make_evaluator: Any, algorithm: CriticTraining
) -> None:
    networks.policy.output.bias.data[EOS] = 1e3
    critic, _ = networks.critics()
    critic.output.weight.data.zero_()
    critic.output.bias.data.fill_(0.3)
    scores, hypotheses = make_evaluator().policy_scores(networks.policy, "dev")
    assert hypotheses == [""] * 40
    assert [scores[n] for n in ("bleu", "sample_bleu", "sample_length", "length_ratio")] == [0.0] * 4
    assert math.isfinite(scores["perplexity"])
    assert make_evaluator().critic_scores(networks, algorithm, "dev") == {
        "td_error": pytest.approx(0.3),  # eos earns nothing and ends it: the target is 0
        "explained": 0.0,
        "correlation": 0.0,
        "correlation_by_position": {},
        "calibration": [],
    }


def test_oracle_scores(small_corpus: Corpus, networks: Networks, make_evaluator: Any, run_ranks: Any) -> None:
    """BLEU of what is decoded given the reference at temperature tau; |TD error| of references and copies."""
    algorithm, split = SoftQ(tau=5.0, num_copies=2), small_corpus.splits["dev"]
    oracle, _ = networks.critics()
    oracle.initialise(torch.Generator().manual_seed(3), 3.0)  # hypotheses of all kinds
    everything = collate(split, np.arange(len(split)))
    with torch.no_grad():
        memory = oracle.encode(*critic_input(everything))
    found = beam_search(oracle, memory, beam_size=3, max_length=8, temperature=5.0)
    hypotheses = [" ".join(small_corpus.target_vocabulary.decode(best.tokens)) for (best,) in found]
    score = corpus_bleu(hypotheses, [[split.target_text(i)] for i in range(len(split))])
    drawn = algorithm.draw(everything, networks, SentenceBleu(), Moment(SEED, "evaluation", 0))
    rewards = LocalScorer(SentenceBleu()).submit(drawn, everything.references).result()
    errors = algorithm.residual(oracle, everything, drawn, rewards)[1]["td_error"]
    expected = {"oracle_bleu": score.bleu, "oracle_length_ratio": score.length_ratio}
    expected["td_error"] = errors.abs().mean().item()
    assert make_evaluator(9).oracle_scores(networks, algorithm, "dev") == pytest.approx(expected)
    for of_rank in run_ranks(
        2, lambda group: make_evaluator(7, collective=group).oracle_scores(networks, algorithm, "dev")
    ):
        assert of_rank == pytest.approx(expected)
    at_another_tau = make_evaluator().oracle_scores(networks, SoftQ(num_copies=2, tau=1.0), "dev")
    assert all(abs(at_another_tau[name] - expected[name]) > 1e-3 for name in expected)
