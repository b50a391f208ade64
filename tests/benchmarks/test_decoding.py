from pathlib import Path

import numpy as np
import pytest
import torch

from raysq.decoding import Hypothesis, beam_search, sample
from tests.benchmarks import decoding
from tests.benchmarks.inputs import random_batch
from tests.benchmarks.settings import BenchmarkSettings


def test_suite_at_a_small_size():
    settings = BenchmarkSettings(
        output_dir=Path("unused"),
        device="cpu",
        threads=1,
        vocabulary=(300,),
        hidden=(16, 32),
        batch_size=4,
        length=10,
        repeats=1,
    )
    rows = decoding.run(settings)
    assert [(row.name, row.hidden, row.vocabulary, row.precision) for row in rows] == [
        ("beam_search_5", 16, 300, "float32"),
        ("sampling", 16, 300, "float32"),
        ("sampling", 16, 300, "bfloat16"),
        ("beam_search_5", 32, 300, "float32"),
        ("sampling", 32, 300, "float32"),
        ("sampling", 32, 300, "bfloat16"),
    ]
    for row in rows:
        assert row.baseline == f"textbook_{row.name}"
        speed = row.numbers["sentences_per_second"] * row.numbers["mean_length_tokens"]
        assert row.numbers["tokens_per_second"] == pytest.approx(speed)


def test_a_textbook_form_that_finds_something_else_is_no_baseline(monkeypatch):
    def other(policy, memory, *, beam_size):
        return [[Hypothesis([5], -1.0)] for _ in memory.mask]

    monkeypatch.setattr(decoding.textbook, "beam_search", other)
    settings = BenchmarkSettings(
        output_dir=Path("unused"), device="cpu", vocabulary=(300,), hidden=(16,), batch_size=2, length=8
    )
    with pytest.raises(AssertionError, match="other hypotheses of sentence 0"):
        decoding.run(settings)


def test_sequences_are_about_as_long_as_their_sources():
    policy = decoding.counting_policy(1000, 64)
    batch = random_batch(np.random.default_rng(2), 1000, 40, 20)
    memory = policy.encode(batch.source, batch.source_mask)
    of_source = batch.source_mask.sum(1)
    samples = sample(policy, memory, torch.rand(40, 60, generator=torch.Generator().manual_seed(1)))
    assert not samples.forced_eos.any()
    best = torch.tensor([len(found[0].tokens) + 1 for found in beam_search(policy, memory, max_length=60)])
    for lengths in (samples.mask.sum(1), best):
        assert float((lengths - of_source).abs().float().mean()) < 4
        assert float(np.corrcoef(lengths, of_source)[0, 1]) > 0.7


def test_hypotheses_must_be_equal():
    found = [[Hypothesis([5, 6], -1.0)], [Hypothesis([7], -2.0)]]
    decoding.require_equal(found, [[Hypothesis([5, 6], -1.0)], [Hypothesis([7], -2.00001)]])
    with pytest.raises(AssertionError, match="other hypotheses of sentence 1"):
        decoding.require_equal(found, [found[0], [Hypothesis([8], -2.0)]])
    with pytest.raises(AssertionError, match="other scores of sentence 0"):
        decoding.require_equal(found, [[Hypothesis([5, 6], -1.1)], found[1]])
    with pytest.raises(ValueError, match="shorter"):
        decoding.require_equal(found, found[:1])
