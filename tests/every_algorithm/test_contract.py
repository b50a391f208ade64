"""What every algorithm must keep to, in every form its fields give it, through the step that trains it."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from raysq.data.corpus import GeneratedText
from raysq.data.prepare import PrepareSettings, prepare
from raysq.data.shards import Corpus
from raysq.losses import vocabulary
from raysq.models import products
from raysq.rewards import LocalScorer, SentenceBleu
from raysq.rewards.scoring import ScoredRewards
from raysq.types import BOS, EOS, FIRST_ACTION, PAD, Memory, MetricSums, Rewards, Samples

PARTS_MATTER = {"AlphaDimt normalise_over=batch"}
"""Its description says so."""
NOTHING_RANDOM = {"Mle without dropout"}


def assert_same(got: dict[str, Tensor | None], expected: dict[str, Tensor | None], atol: float) -> None:
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        if value is None:
            assert got[name] is None, name
        else:
            assert_close(got[name], value, rtol=0, atol=atol, msg=name)


def assert_same_means(got: MetricSums, expected: MetricSums) -> None:
    assert got.keys() == expected.keys()
    for name, (total, weight) in expected.items():
        if weight == 0:
            assert got[name] == (0, 0), name
        else:
            assert got[name][0] / got[name][1] == pytest.approx(total / weight, rel=1e-9, abs=1e-12), name


def test_gradients_reach_what_is_trained_and_nothing_else(updated: Any, case: Any) -> None:
    assert set(case.algorithm.trains) | set(case.algorithm.following_rates()) <= updated.by_name().keys()
    for name, gradient in updated.gradients().items():
        if name.split(".")[0] in case.algorithm.trains:
            assert gradient is not None, name
            assert gradient.isfinite().all(), name
            assert gradient.abs().max() > 0, name
        else:
            assert gradient is None, name
    assert updated.metrics["tokens"][0] > 0
    for name, pair in updated.metrics.items():
        assert torch.tensor(pair).isfinite().all(), name


def test_networks_that_are_not_trained_may_be_frozen(make_trial: Any, updated: Any, case: Any) -> None:
    """In the other tests all networks want gradients: it must not matter."""
    frozen = make_trial(case.algorithm, case.dropout, frozen=True)
    frozen.update()
    assert_same_means(frozen.metrics, updated.metrics)
    assert_same(frozen.gradients(), updated.gradients(), atol=1e-12)


def test_draws_are_sequences_and_carry_no_gradient(make_trial: Any, case: Any) -> None:
    """But for the policy's memory of the source; and a draw that needs no network gets none."""
    trial = make_trial(case.algorithm, case.dropout)
    networks, batch = None if case.algorithm.model_free else trial.networks, trial.batch()
    drawn: Samples = case.algorithm.draw(batch, networks, SentenceBleu(), trial.moment)
    for field in fields(drawn):
        value = getattr(drawn, field.name)
        assert not (isinstance(value, Tensor) and value.requires_grad), field.name
    if drawn.memory is not None:
        encoded = trial.networks.policy.encode(batch.source, batch.source_mask)
        for name in Memory.__slots__:
            kept, expected = getattr(drawn.memory, name), getattr(encoded, name)
            assert torch.equal(kept, expected), name
            assert kept.requires_grad == expected.requires_grad, name
    assert len(drawn.mask) == len(batch.source) * drawn.num_per_example
    assert torch.equal(drawn.mask, drawn.targets != PAD)
    assert torch.equal(drawn.mask, drawn.inputs != PAD)
    assert (drawn.targets[drawn.mask] >= FIRST_ACTION).all()
    assert (drawn.inputs[:, 0] == BOS).all()
    assert (drawn.targets.gather(1, drawn.lengths.unsqueeze(1)) == EOS).all()
    assert (drawn.targets == EOS).sum() == len(drawn.mask)
    assert (drawn.targets[drawn.forced_eos] == EOS).all()


def test_padding_changes_nothing(make_trial: Any, updated: Any, case: Any) -> None:
    padded = make_trial(case.algorithm, case.dropout)
    padded.update(more_padding=2)
    assert_same(padded.gradients(), updated.gradients(), atol=1e-12)
    assert_same_means(padded.metrics, updated.metrics)


def test_ranks_and_parts_make_the_update_of_one(
    make_trial: Any, run_ranks: Any, updated: Any, case: Any
) -> None:
    """Two ranks that work through their shares in two parts each; moving averages included."""
    if case.name in PARTS_MATTER:
        pytest.skip("as documented")

    def one_of_two(collective: Any) -> tuple[MetricSums, dict[str, Tensor]]:
        trial = make_trial(case.algorithm, case.dropout, collective=collective)
        return trial.update(parts=2), trial.parameters()

    for metrics, parameters in run_ranks(2, one_of_two):
        assert_same(parameters, updated.parameters(), atol=1e-10)
        (tokens, _), (expected, _) = metrics.pop("tokens"), updated.metrics["tokens"]
        assert tokens == expected
        assert_same_means(metrics, {k: pair for k, pair in updated.metrics.items() if k != "tokens"})


def test_the_seed_decides(make_trial: Any, updated: Any, case: Any) -> None:
    """That of the run, and no generator that others use too."""

    def metrics(seed: int) -> MetricSums:
        trial = make_trial(case.algorithm, case.dropout)
        torch.manual_seed(torch.seed())
        return trial.update(replace(trial.moment, seed=seed))

    assert metrics(updated.moment.seed) == updated.metrics
    assert (metrics(2) == updated.metrics) == (case.name in NOTHING_RANDOM)


class Scorer:
    """Rewards from a function of the true ones."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        self.change, self.given = change, list[Tensor]()

    def submit(self, samples: Samples, references: Sequence[Any]) -> ScoredRewards:
        true = LocalScorer(SentenceBleu()).submit(samples, references).result()
        rewards = Rewards(*(self.change(part) for part in (true.sequence, true.token, true.scale)))
        self.given += [rewards.sequence, rewards.token, rewards.scale]
        return ScoredRewards(rewards, 0.0)

    def warm_up(self) -> None:
        pass


def test_no_gradient_flows_through_rewards(make_trial: Any, updated: Any, case: Any) -> None:
    """They are read as numbers, where the algorithm says that it uses them."""
    other = Scorer(lambda rewards: torch.rand_like(rewards).requires_grad_())
    metrics = make_trial(case.algorithm, case.dropout, scorer=other).update()
    assert bool(other.given) == case.algorithm.uses_rewards
    assert all(part.grad is None for part in other.given)
    assert (metrics != updated.metrics) == case.algorithm.uses_rewards


class MostRows(TorchDispatchMode):
    """Watches every operator, of the backward pass too, for the most rows of V numbers that one returns.

    V is prime: what is a multiple of it has the vocabulary in it.
    """

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.vocabulary_size, self.rows, self.operator = vocabulary_size, 0, ""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.numel() % self.vocabulary_size == 0:
                rows = leaf.numel() // self.vocabulary_size
                if rows > self.rows:
                    self.rows, self.operator = rows, str(func)
        return result


CHUNK = 16
"""Rows of V numbers that chunks of a loss may have at the least."""


@pytest.fixture(scope="session")
def wide_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """42 pairs with 6 target words each: 207 words in all, which with the special ones makes V = 211."""
    pairs = [("a b", " ".join(f"w{(5 * i + k) * 41 % 207}" for k in range(6))) for i in range(42)]
    folder = tmp_path_factory.mktemp("wide_corpus") / "data"
    text = GeneratedText("wide", {"train": pairs, "dev": pairs[:1], "test": pairs[:1]})
    prepare(PrepareSettings(output_dir=folder, min_count=1, max_ratio=0), text)
    return Corpus.load(folder)


@pytest.fixture
def most_rows(make_trial: Any, wide_corpus: Corpus) -> Callable[[Any], int]:
    """The most rows in an update on 4 sentences, 28 reference tokens."""

    def watch(case: Any) -> int:
        trial = make_trial(case.algorithm, case.dropout, corpus=wide_corpus)
        V = trial.networks.policy.output.weight.shape[0]
        assert V == 211
        ids = trial.ids[:4]
        drawn = case.algorithm.draw(trial.batch(ids), trial.networks, SentenceBleu(), trial.moment)
        assert len(drawn.mask) <= CHUNK < 28 <= drawn.mask.sum()
        with MostRows(V) as watcher:
            trial.update(ids=ids)
        return watcher.rows

    return watch


def test_no_operator_returns_tokens_times_vocabulary(
    most_rows: Any, monkeypatch: pytest.MonkeyPatch, case: Any
) -> None:
    """Chunks and decoding steps have no more rows than a chunk may have."""
    monkeypatch.setattr(products, "CHUNK_ELEMENTS", 1)
    monkeypatch.setattr(vocabulary, "BLOCK_ROWS", CHUNK)
    assert 0 < most_rows(case) <= CHUNK


def test_the_watcher_sees_a_product_without_chunks(most_rows: Any, small_case: Any) -> None:
    assert most_rows(small_case) > CHUNK


def test_the_watcher_sees_the_backward_pass() -> None:
    features, weight = torch.randn(20, 3, requires_grad=True), torch.randn(53, 3, requires_grad=True)
    loss = (features @ weight.t()).square().sum()
    with MostRows(53) as watcher:
        loss.backward()
    assert watcher.rows == 20


def test_bfloat16_products_are_near(make_trial: Any, small_case: Any) -> None:
    """On the same samples, dropout on: gradients differ by what 8 bits of a product leave open."""
    exact, rounded = (make_trial(small_case.algorithm, small_case.dropout) for _ in range(2))
    batch, algorithm = exact.batch(), small_case.algorithm
    samples = algorithm.draw(batch, exact.networks, SentenceBleu(), exact.moment)
    for network in rounded.by_name().values():
        if hasattr(network, "output"):
            network.output.product_type = torch.bfloat16
    for trial in (exact, rounded):
        rewards = LocalScorer(SentenceBleu()).submit(samples, batch.references)
        objectives, _ = algorithm.objectives(
            batch, replace(samples, memory=None), rewards, trial.networks, trial.moment
        )
        sum(o.coefficient * o.total for o in objectives).backward()
    for group in algorithm.trains:
        mine, expected = (
            torch.cat([g.flatten() for name, g in trial.gradients().items() if name.startswith(f"{group}.")])
            for trial in (rounded, exact)
        )
        assert mine.dtype == torch.float64
        assert (mine - expected).norm() < 0.02 * expected.norm()
        if group != "baseline":
            assert not torch.equal(mine, expected)
