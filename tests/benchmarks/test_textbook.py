"""The textbook forms do what ours do: a baseline that computes something else would prove nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from raysq import decoding
from raysq.algorithms import (
    ActorCritic,
    Algorithm,
    CriticTraining,
    Interpolation,
    Mle,
    Raml,
    SoftQ,
    Vaml,
)
from raysq.algorithms.moment import Moment
from raysq.algorithms.on_policy import ended_references
from raysq.data.shards import Corpus
from raysq.decoding import Tilt
from raysq.models import Seq2Seq
from raysq.rewards import SentenceBleu, pack
from raysq.types import BOS, EOS, PAD, UNK, Batch, Memory, Samples
from tests.benchmarks.textbook import beam_search, sample, update_of
from tests.benchmarks.textbook.mixture import reward_logits
from tests.every_algorithm.conftest import MOMENT, Trial

ALGORITHMS: dict[str, Algorithm] = {
    "mle": Mle(optimizer="adam", learning_rate=1e-3, clip_norm=0.3),
    "mle by sgd": Mle(clip_norm=0.3),
    "critic": CriticTraining(tau=0.4, lambda_var=0.2, max_length=6, target_rate=0.1, clip_norm=0.3),
    "erac": ActorCritic(tau=0.4, lambda_var=0.2, lambda_mle=0.3, max_length=6, target_rate=0.1),
    "ac, 2 samples": ActorCritic(tau=0.0, num_samples=2, max_length=6, clip_norm=0.3),
    "oracle": SoftQ(num_copies=2),
    "vaml": Vaml(vaml_coeff=0.5, num_samples=3, optimizer="adam"),
    "raml": Raml(num_samples=3, temperature=0.5, optimizer="adam"),
    "interpolation": Interpolation(
        num_samples=2, lambda_model=0.8, lambda_truth=0.2, max_decays=0, extra_length=0
    ),
}
DROPPING = {name: "critic" if name == "oracle" else "policy" for name in ALGORITHMS}
"""The network of each update that has dropout."""


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def precision(request: pytest.FixtureRequest) -> Iterator[float]:
    """Relative distance of two forms that are equal but for rounding, in float32 and in float64."""
    torch.set_default_dtype(request.param)
    yield {torch.float32: 1e-5, torch.float64: 1e-9}[request.param]
    torch.set_default_dtype(torch.float32)


def assert_equal(
    found: dict[str, Tensor | None], expected: dict[str, Tensor | None], precision: float
) -> None:
    """Each tensor to ``precision``, relative to its own norm; none where there is to be none."""
    assert found.keys() == expected.keys()
    for name, theirs in expected.items():
        ours = found[name]
        assert (ours is None) == (theirs is None), name
        if ours is not None and theirs is not None:
            assert (ours - theirs).norm() <= precision * theirs.norm(), name


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_update_is_ours(small_corpus: Corpus, name: str, precision: float) -> None:
    """Loss terms, gradients after clipping; in float64 parameters too, and all of it a second time."""
    algorithm = ALGORITHMS[name]
    expected, found = Trial(small_corpus, algorithm), Trial(small_corpus, algorithm)
    update = update_of(algorithm, found.networks, SentenceBleu())
    batch = found.batch(more_padding=1)
    exact = torch.get_default_dtype() == torch.float64
    for moment in (MOMENT, replace(MOMENT, update=4)) if exact else (MOMENT,):
        samples = algorithm.draw(batch, expected.networks, SentenceBleu(), moment)
        terms = update.run(batch, moment, samples=samples)
        metrics = expected.update(moment, more_padding=1)
        ours = {k.removeprefix("loss_"): v for k, (v, _) in metrics.items() if k.startswith("loss_")}
        assert terms == pytest.approx(ours, rel=precision)
        assert_equal(found.gradients(), expected.gradients(), precision)
        assert update.samples is not None
        for field in ("inputs", "targets", "mask", "forced_eos"):
            assert torch.equal(getattr(update.samples, field), getattr(samples, field)), field
        if exact:  # Adam makes a step of the rounding of a gradient that vanishes
            assert_equal({**found.parameters()}, {**expected.parameters()}, precision)


def test_the_networks_of_an_update_change(small_corpus: Corpus) -> None:
    """So that the test above compares something."""
    trial = Trial(small_corpus, ALGORITHMS["erac"])
    before = trial.parameters()
    update_of(trial.algorithm, trial.networks, SentenceBleu()).run(trial.batch(), MOMENT)
    changed = {
        name.split(".")[0] for name, p in trial.parameters().items() if not torch.equal(p, before[name])
    }
    assert changed == {"policy", "critic", "target_critic"}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_update_draws_for_itself(small_corpus: Corpus, name: str) -> None:
    """With dropout, which a given sample does without; the numbers are finite and the form is ours."""
    algorithm = ALGORITHMS[name]
    trial = Trial(small_corpus, algorithm, 0.3)
    batch = trial.batch()
    update = update_of(algorithm, trial.networks, SentenceBleu())
    assert all(math.isfinite(term) for term in update.run(batch, MOMENT).values())
    samples = update.samples
    assert samples is not None
    ours = algorithm.draw(batch, trial.networks, SentenceBleu(), MOMENT)
    assert len(samples.mask) == len(ours.mask)
    assert (samples.targets[samples.mask] >= EOS).all()
    ends = samples.mask.sum(1) - 1
    assert torch.equal((samples.targets == EOS).nonzero()[:, 1], ends)  # one eos a row, at its end


@pytest.mark.parametrize("name", ALGORITHMS)
def test_dropout(small_corpus: Corpus, name: str) -> None:
    """A network that is trained, or draws, has its dropout; the critics and the frozen oracle have none."""
    algorithm = ALGORITHMS[name]
    trial = Trial(small_corpus, algorithm, 0.3)
    batch = trial.batch()
    samples = algorithm.draw(batch, trial.networks, SentenceBleu(), MOMENT)
    update = update_of(algorithm, trial.networks, SentenceBleu())

    def terms() -> list[float]:
        return [o.total.item() for o in update.objectives(batch, MOMENT, samples, None)[1]]

    assert terms() != terms()
    for network in trial.by_name():
        if network != DROPPING[name]:
            getattr(trial.networks, network).dropout = 0.3
    getattr(trial.networks, DROPPING[name]).dropout = 0.0
    assert terms() == terms()


@pytest.mark.parametrize("name", ["critic", "erac"])
def test_an_update_of_given_lengths(small_corpus: Corpus, name: str) -> None:
    """Longest of all is the maximum length, 6, at which eos is forced."""
    trial = Trial(small_corpus, ALGORITHMS[name])
    batch = trial.batch()
    N = {"critic": 2, "erac": 1}[name]
    lengths = torch.arange(len(batch.example_ids) * N) % 6 + 1
    update = update_of(trial.algorithm, trial.networks, SentenceBleu())
    update.run(batch, MOMENT, lengths=lengths)
    assert update.samples is not None
    assert update.samples.mask.sum(1).tolist() == lengths.tolist()
    assert update.samples.forced_eos.any(1).tolist() == (lengths == 6).tolist()


def make_policy(seed: int, vocabulary_size: int) -> tuple[Seq2Seq, Memory]:
    """A policy far from uniform, and six sources that it has read."""
    policy = Seq2Seq(
        9,
        vocabulary_size,
        embedding_size=5,
        hidden_size=6,
        attention="additive" if seed % 2 else "dot",
        input_feeding=False,
        attention_bias=False,
    )
    policy.initialise(torch.Generator().manual_seed(seed), 2.0)
    sources = torch.tensor(
        [[4, 5, 6, 7, EOS], [8, 5, EOS, 0, 0], [EOS, 0, 0, 0, 0], [6, 6, EOS, 0, 0], [7, 8, 4, 4, EOS]]
    )
    with torch.no_grad():
        return policy, policy.encode(sources, sources != PAD)


@pytest.mark.parametrize("vocabulary_size", [6, 30])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("beam_size", "num_best"), [(1, 1), (5, 1), (5, 5)])
@pytest.mark.parametrize("length_exponent", [0.0, 1.0])
def test_beam_search_is_ours(
    float64: None, seed: int, vocabulary_size: int, beam_size: int, num_best: int, length_exponent: float
) -> None:
    policy, memory = make_policy(seed, vocabulary_size)
    settings = {"beam_size": beam_size, "num_best": num_best, "max_length": 12}
    found = beam_search(policy, memory, **settings, length_exponent=length_exponent)
    expected = decoding.beam_search(policy, memory, **settings, length_exponent=length_exponent)
    for ours, theirs in zip(found, expected, strict=True):
        assert [h.tokens for h in ours] == [h.tokens for h in theirs]
        assert [h.score for h in ours] == pytest.approx([h.score for h in theirs], rel=1e-12)


@torch.no_grad()
def log_prob(policy: Seq2Seq, memory: Memory, words: tuple[int, ...], steps: int) -> float:
    """log pi of the first ``steps`` of words and eos for one source, teacher-forced by our own pass."""
    tokens = (*words, EOS)[:steps]
    features = policy.features(memory, torch.tensor([[BOS, *tokens[:-1]]]))[0]
    log_pi = torch.log_softmax(policy.output.logits(features), 1)
    return float(sum(log_pi[t, token] for t, token in enumerate(tokens)))


def counts_of(samples: Samples) -> Counter[tuple[int, ...]]:
    rows = zip(samples.targets.tolist(), samples.lengths.tolist(), strict=True)
    return Counter(tuple(row[:length]) for row, length in rows)


def assert_frequencies(counts: Counter[tuple[int, ...]], probabilities: dict[tuple[int, ...], float]) -> None:
    """Within 5 standard deviations."""
    assert sum(probabilities.values()) == pytest.approx(1.0)
    assert set(counts) <= set(probabilities)
    num = counts.total()
    for words, p in probabilities.items():
        assert abs(counts[words] / num - p) <= 5 * math.sqrt(p * (1 - p) / num) + 1e-12, words


def test_sampling_has_the_policys_distribution(float64: None) -> None:
    """All 13 sequences of at most 2 words out of 3, eos forced after them."""
    policy, memory = make_policy(0, 6)
    row = memory.select(torch.tensor([0]))
    samples = sample(policy, row.repeat(20_000), 3)
    sequences = [words for length in range(3) for words in product((UNK, 4, 5), repeat=length)]
    probabilities = {words: math.exp(log_prob(policy, row, words, steps=2)) for words in sequences}
    assert_frequencies(counts_of(samples), probabilities)
    assert torch.equal(samples.forced_eos.any(1), samples.lengths == 2)


def test_sampling_of_given_lengths(float64: None) -> None:
    """The policy's distribution over words, and no eos before its time."""
    policy, memory = make_policy(2, 6)
    row = memory.select(torch.tensor([1]))
    lengths = torch.tensor([1, 3]).repeat(10_000)
    samples = sample(policy, row.repeat(20_000), 9, lengths=lengths)
    assert samples.mask.sum(1).tolist() == lengths.tolist()
    pairs = [(w, v) for w in (UNK, 4, 5) for v in (UNK, 4, 5)]
    p = {words: math.exp(log_prob(policy, row, words, 2)) for words in pairs}
    first = {word: math.exp(log_prob(policy, row, (word,), 1)) for word in (UNK, 4, 5)}
    going = {w: sum(p[w, v] for v in (UNK, 4, 5)) for w in (UNK, 4, 5)}
    expected: dict[tuple[int, ...], float] = {
        (w, v): first[w] / sum(first.values()) * p[w, v] / going[w] for w, v in pairs
    }
    counts = counts_of(samples)
    assert counts.pop(()) == 10_000
    assert_frequencies(counts, expected)


def mixed_samples(small_corpus: Corpus, algorithm: Interpolation, moment: Moment) -> tuple[Batch, Samples]:
    trial = Trial(small_corpus, algorithm)
    batch = trial.batch()
    update = update_of(algorithm, trial.networks, SentenceBleu())
    update.run(batch, moment)
    assert update.samples is not None
    return batch, update.samples


def test_the_reference_writes_alone(small_corpus: Corpus, float64: None) -> None:
    algorithm = Interpolation(lambda_model=0.0, lambda_truth=1.0, max_decays=0)
    batch, samples = mixed_samples(small_corpus, algorithm, Moment(1, "test", 0))
    assert torch.equal(samples.targets, batch.reference)


def test_the_reward_writes_alone(small_corpus: Corpus, float64: None) -> None:
    """Without a brevity penalty a large factor lets every drawn word be one of the reference."""
    algorithm = Interpolation(lambda_model=0.0, lambda_reward=1.0, lambda_truth=0.0, max_decays=0)
    trial = Trial(small_corpus, algorithm)
    batch = trial.batch()
    update = update_of(algorithm, trial.networks, SentenceBleu(brevity_penalty=False))
    update.run(batch, MOMENT)
    assert update.samples is not None
    first = update.samples.targets[:, 0].tolist()
    assert all(word in of_one[0] for word, of_one in zip(first, batch.references, strict=True))


def test_the_rewards_choice_is_ours(small_corpus: Corpus, float64: None) -> None:
    """Up to what softmax does not see; prefixes of every length, with and without a repeated word."""
    algorithm = Interpolation(reward_factor=3.0, eos_penalty=0.7, repetition_penalty=0.4)
    batch = Trial(small_corpus, algorithm).batch()
    references = pack(batch.references)
    tilt = Tilt(SentenceBleu(), references, 3.0, 0.7, 0.4)
    rows, V = torch.arange(len(batch.references)), len(batch.word_counts)
    words = ended_references(batch, 1, 4).clamp(min=UNK + 1)
    words[::2, 2] = words[::2, 1]
    for t in range(4):
        prefixes = words[:, :t]
        found = reward_logits(algorithm, SentenceBleu(), references, prefixes, torch.zeros(len(rows), V))
        listed, gains = tilt.after(rows, prefixes)
        ours = torch.zeros(len(rows), V)
        ours[rows.unsqueeze(1), listed] += gains
        ours[:, [PAD, BOS, UNK]] = -torch.inf
        assert torch.allclose(torch.softmax(found, 1), torch.softmax(ours, 1), rtol=1e-9)
