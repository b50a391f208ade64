import numpy as np
import pytest

from raysq.proposals import NgramReplacement
from raysq.proposals.ngram import count_spans

COUNTS = np.ones(104, np.int64)
REFERENCE = np.arange(4, 14, dtype=np.int32)


def changed(proposal: NgramReplacement, reference: np.ndarray, num: int = 40_000) -> np.ndarray:
    """Where the draws differ from the reference."""
    return proposal.draw_rows(reference, num, COUNTS, np.random.default_rng(1)) != reference


def test_published_settings() -> None:
    assert NgramReplacement() == NgramReplacement(max_ngram=4, length="uniform", protect_last=True)


@pytest.mark.parametrize("protect_last", [True, False])
def test_one_span_of_up_to_four_words(protect_last: bool) -> None:
    where = changed(NgramReplacement(protect_last=protect_last), REFERENCE)
    spans = 10 - np.argmax(where[:, ::-1], axis=1) - np.argmax(where, axis=1)
    assert (spans[where.any(1)] <= 4).all()
    assert where[:, 9].any() != protect_last
    assert where[:, :9].any(0).all()


@pytest.mark.parametrize(
    ("length", "expected"), [("uniform", [0.25] * 4), ("adaptive", [1 / 9, 2 / 3, 1 / 9, 1 / 9])]
)
def test_lengths_of_spans(length: str, expected: list[float]) -> None:
    """10 of at most 30 words: the peak is at 1 + floor(4 / 3). A few words are replaced by themselves."""
    where = changed(NgramReplacement(length=length, max_len=30), REFERENCE)
    shares = np.bincount(where.sum(1), minlength=5)[1:] / len(where)
    np.testing.assert_allclose(shares, expected, atol=0.03)


def test_the_peak_stays_among_the_lengths() -> None:
    """A reference longer than max_len: mostly spans of 4."""
    where = changed(NgramReplacement(length="adaptive", max_len=5), REFERENCE)
    assert np.median(where.sum(1)) == 4


def test_longest_span_of_a_short_reference() -> None:
    """Two words, the last protected: one is replaced. One word, protected: a copy, of density 1."""
    two = changed(NgramReplacement(), REFERENCE[:2])
    assert two[:, 0].mean() == pytest.approx(0.99, abs=0.005)
    assert not two[:, 1].any()
    assert not changed(NgramReplacement(), REFERENCE[:1]).any()
    densities = NgramReplacement().log_density([REFERENCE[:1], REFERENCE[1:2]], REFERENCE[:1], COUNTS)
    assert densities.tolist() == [0.0, -np.inf]
    assert changed(NgramReplacement(protect_last=False), REFERENCE[:1]).mean() == pytest.approx(
        0.99, abs=0.005
    )


def plain_spans(row: np.ndarray, reference: np.ndarray, F: int, n: int) -> int:
    """Spans of n words that explain a row, one by one."""
    return sum(
        (np.delete(row, range(s, s + n)) == np.delete(reference, range(s, s + n))).all()
        and (row[s : s + n] > 3).all()
        for s in range(F - n + 1)
    )


@pytest.mark.parametrize("F", [6, 7])
def test_count_spans_agrees_with_its_twin(F: int) -> None:
    generator = np.random.default_rng(1)
    for _ in range(100):
        reference = generator.integers(3, 7, 7).astype(np.int32)
        rows = np.repeat(reference[None], 10, axis=0)
        for row in rows[1:]:
            start = generator.integers(7)
            row[start : start + 3] = generator.integers(4, 7, len(row[start : start + 3]))
        counts = count_spans(rows, reference, F, 4)
        assert counts.tolist() == [[plain_spans(row, reference, F, n) for n in (1, 2, 3, 4)] for row in rows]
