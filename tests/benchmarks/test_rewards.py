from pathlib import Path

import numpy as np
import pytest

from raysq.rewards import SentenceBleu
from tests.benchmarks import rewards
from tests.benchmarks.settings import BenchmarkSettings

SETTINGS = BenchmarkSettings(
    output_dir=Path("unused"), device="cpu", threads=1, vocabulary=(300,), batch_size=6, repeats=1
)


def test_suite_compares_every_reward_with_a_slower_form(monkeypatch):
    monkeypatch.setattr(rewards, "CALLS", 2)
    rows = {row.name: row for row in rewards.run(SETTINGS)}
    assert list(rows) == [
        "prefix_bleu",
        "prefix_bleu_three_references",
        "prefix_bleu_lin_och_all",
        "prefix_bleu_lin_och_n2",
        "prefix_bleu_mixer",
        "prefix_bleu_nltk_m0_32",
        "prefix_bleu_nltk_m0_33",
        "prefix_bleu_nltk_m3",
        "prefix_bleu_bso",
        "prefix_rouge",
        "prefix_edit_distance",
    ]
    assert rows["prefix_bleu"].baseline == "sacrebleu_per_prefix"
    assert {row.unit for row in rows.values()} == {"us per pair"}
    three = rows["prefix_bleu_three_references"]
    assert three.ratio * three.numbers["times_as_long"] == pytest.approx(1, rel=1e-6)


def test_a_baseline_that_computes_something_else_is_no_baseline():
    pairs = rewards.Pairs(SETTINGS, num_references=1)
    other = rewards.plain_bleu("bso")
    with pytest.raises(AssertionError):
        rewards.against_loop(SETTINGS, pairs, "prefix_bleu", SentenceBleu(), other)


def test_pairs_are_of_25_words_that_are_partly_the_same():
    pairs = rewards.Pairs(SETTINGS, num_references=3)
    assert pairs.hypotheses.shape == (6, 25)
    assert [len(of_one) for of_one in pairs.references] == [3] * 6
    same = pairs.hypotheses[:, None] == np.array(pairs.references)
    assert 0.5 < same.mean() < 0.9
    assert pairs.scale * rewards.CALLS * 6 == pytest.approx(1e6)
    assert pairs.plain_scale * 5 == pytest.approx(1e6)
