from collections.abc import Callable
from typing import Any

import pytest
import torch

from raysq.config import DecodingConfig
from raysq.data.vocabulary import Vocabulary
from raysq.decoding import beam_search, translator
from raysq.decoding.translator import Translator, Unknown
from raysq.models import Seq2Seq
from raysq.types import EOS, SPECIALS, UNK, Memory

SOURCE = Vocabulary((*SPECIALS, "a", "b", "c", "d", "e"))
TARGET = Vocabulary((*SPECIALS, "x", "y"))
SENTENCES = [line.split() for line in ("a b c d", "e b", "", "c q c", "d e a a")]
"""The fourth holds a word that the vocabulary lacks, the third holds none."""


@pytest.fixture
def make_translator(make_policy: Callable[..., Seq2Seq]) -> Callable[..., Translator]:
    def make(unknown: Unknown = "keep", batch_size: int = 2, seed: int = 1) -> Translator:
        decoding = DecodingConfig(beam_size=4, max_length=6, batch_size=batch_size)
        return Translator(make_policy(seed=seed, init_range=2.0), SOURCE, TARGET, decoding, unknown)

    return make


@pytest.fixture
def unknowing(make_translator: Callable[..., Translator], monkeypatch: Any) -> Callable[..., list[list[str]]]:
    """Translations ``x <unk> <unk>`` of some sentences, each step looking where it is told to."""

    def run(unknown: Unknown, sources: list[list[str]], weights: list[list[float]]) -> list[list[str]]:
        found = translator.Hypothesis([4, UNK, UNK], -1.0)

        def attention(policy: Seq2Seq, memory: Memory, inputs: torch.Tensor) -> torch.Tensor:
            assert inputs.tolist() == [[1, 4, UNK]]
            return torch.tensor([weights])

        monkeypatch.setattr(translator, "beam_search", lambda policy, memory, **how: [[found]] * len(sources))
        monkeypatch.setattr(translator, "attention_weights", attention)
        return [best.words for (best,) in make_translator(unknown).translate(sources)]

    return run


def test_translations_are_the_beam_searchs_whatever_the_batches(
    make_translator: Callable[..., Translator],
) -> None:
    expected = []
    policy = make_translator().policy
    for words in SENTENCES:
        source = torch.tensor([[*SOURCE.encode(words).tolist(), EOS]])
        with torch.no_grad():
            memory = policy.encode(source, source > 0)
        (best,) = beam_search(policy, memory, beam_size=4, max_length=6, num_best=3)
        expected.append([(TARGET.decode(h.tokens), h.score) for h in best])
    assert len({str(best[0]) for best in expected}) == len(SENTENCES)
    for batch_size in (1, 2, 5):
        batches: list[int] = []
        found = make_translator(batch_size=batch_size).translate(SENTENCES, 3, batches.append)
        assert [[words for words, _ in best] for best in found] == [[w for w, _ in best] for best in expected]
        for ours, theirs in zip(found, expected, strict=True):
            assert [t.score for t in ours] == pytest.approx([score for _, score in theirs], abs=1e-12)
            assert [t.score for t in ours] == sorted((t.score for t in ours), reverse=True)
        assert sum(batches) == 5
        assert max(batches) == batch_size
    assert make_translator().translate([]) == []


def test_drop_leaves_unknown_words_out_and_nothing_else(make_translator: Callable[..., Translator]) -> None:
    kept = make_translator("keep", seed=2).translate(SENTENCES, 4)
    dropped = make_translator("drop", seed=2).translate(SENTENCES, 4)
    assert any("<unk>" in t.words for best in kept for t in best)
    for before, after in zip(kept, dropped, strict=True):
        assert [[w for w in t.words if w != "<unk>"] for t in before] == [t.words for t in after]
        assert [t.score for t in before] == [t.score for t in after]


def test_copy_takes_the_source_word_with_most_attention(unknowing: Callable[..., list[list[str]]]) -> None:
    """Row t of the weights belongs to word t; the last position is eos, which is no word."""
    weights = [[1.0, 0.0, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]]
    assert unknowing("copy", [["p", "q", "r"]], weights) == [["x", "r", "p"]]
    assert unknowing("keep", [["p", "q", "r"]], weights) == [["x", "<unk>", "<unk>"]]


def test_a_sentence_without_words_has_nothing_to_copy(unknowing: Callable[..., list[list[str]]]) -> None:
    assert unknowing("copy", [[]], [[1.0]] * 3) == [["x"]]


def test_copied_words_are_words_of_the_own_source(make_translator: Callable[..., Translator]) -> None:
    """A whole batch with real weights: rows, padding and order must not mix the sentences up."""
    alone = [make_translator("copy", 1, seed=30).translate([s], 4)[0] for s in SENTENCES]
    together = make_translator("copy", 5, seed=30).translate(SENTENCES, 4)
    copied = {w for best in together for t in best for w in t.words} - {"x", "y"}
    assert copied == {"a", "b", "c", "d", "e", "q"}
    assert [[t.words for t in best] for best in together] == [[t.words for t in best] for best in alone]
    for source, best in zip(SENTENCES, together, strict=True):
        assert {w for t in best for w in t.words} <= {"x", "y", *source}
