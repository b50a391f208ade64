import math
from collections import Counter
from itertools import product

import numpy as np
import pytest

from raysq.config import UserError
from raysq.proposals import EditProposal

COUNTS = np.ones(6, np.int64)


def published_log_counts(T: int, most: int) -> list[float]:
    """log of N(e) / V'^e, e = 0 .. most, by its sum."""
    return [
        math.log(sum(math.comb(T, s) * math.comb(T + e - 2 * s, e - s) for s in range(min(T, e) + 1)))
        for e in range(most + 1)
    ]


def scripts(reference: tuple[int, ...], x: float, words: tuple[int, ...], most: int) -> dict:
    """Probability by (sequence, edits) of the module's procedure, one script after another.

    All marks, all insertions of up to ``most`` words in all, all words, all deletions.
    """
    T, b = len(reference), x / (1 / (1 - x) + x)
    law: Counter = Counter()
    for marks in product([False, True], repeat=T):
        gaps = [range(1) if marked else range(most + 1) for marked in (*marks, False)]
        for inserted in product(*gaps):
            if sum(inserted) > most:
                continue
            p = math.prod(b if marked else 1 - b for marked in marks)
            p *= math.prod((1 - x) * x**k for k, m in zip(inserted, (*marks, False), strict=True) if not m)
            choices = []
            for t in range(T + 1):
                choices += [[(w, 1 / len(words)) for w in words]] * inserted[t]
                if t < T:
                    others = (
                        [w for w in words if w != reference[t]] if marks[t] and t < T - 1 else [reference[t]]
                    )
                    choices.append([(w, 1 / len(others)) for w in others])
            places = [sum(inserted[: t + 1]) + t for t in range(T - 1)]
            deletions = places if T > 1 and marks[-1] else [None]
            for chosen, deleted in product(product(*choices), deletions):
                y = tuple(w for place, (w, _) in enumerate(chosen) if place != deleted)
                weight = p / len(deletions) * math.prod(q for _, q in chosen)
                law[y, sum(marks) + sum(inserted)] += weight
    return law


@pytest.mark.parametrize("reference", [(4, 5, 4), (4, 5), (3, 4), (5,), ()])
def test_density_agrees_with_all_scripts(reference: tuple[int, ...]) -> None:
    """Up to 4 insertions: exact for every sequence of at most 4 - T words more than T - 1."""
    edit = EditProposal(temperature=0.7)
    law: Counter = Counter()
    for (y, _), p in scripts(reference, edit.edit_weight(2), (4, 5), most=4).items():
        law[y] += p
    # fewer than 4 insertions even if a word was deleted and all others were inserted
    exact = [y for y in law if len(y) <= 4 and len(y) - len(reference) < 3]
    densities = edit.log_density(
        [np.array(y, np.int32) for y in exact], np.array(reference, np.int32), COUNTS
    )
    np.testing.assert_allclose(np.exp(densities), [law[y] for y in exact], rtol=1e-9)
    assert len(exact) > 5


@pytest.mark.parametrize("T", [0, 1, 2, 3])
def test_number_of_edits_has_the_published_distribution(T: int) -> None:
    """P(e) ~ N(e) exp(-e / tau'), by all scripts; the normaliser is the closed form."""
    edit = EditProposal(temperature=0.7)
    x = edit.edit_weight(2)
    assert x == pytest.approx(2 * math.exp(-(1 + math.log(2)) / 0.7))
    law: Counter = Counter()
    for (_, e), p in scripts((4, 5, 4)[:T], x, (4, 5), most=4).items():
        law[e] += p
    expected = [math.exp(log_n + e * math.log(x)) for e, log_n in enumerate(published_log_counts(T, 4))]
    total = (1 / (1 - x) + x) ** T / (1 - x)
    assert total == pytest.approx(
        sum(math.exp(n + e * math.log(x)) for e, n in enumerate(published_log_counts(T, 99)))
    )
    np.testing.assert_allclose([law[e] for e in range(5)], np.array(expected) / total, rtol=1e-9)


def test_last_word_is_never_changed_and_at_most_one_is_deleted() -> None:
    """Everything is marked that can be: one of three words goes, the last stays, others differ."""
    drawn = EditProposal(temperature=1.1).draw(
        np.array([4, 5, 4], np.int32), 3000, COUNTS, np.random.default_rng(1)
    )
    assert min(map(len, drawn)) == 2
    assert all(4 in row for row in drawn)
    single = EditProposal(temperature=1.1).draw(
        np.array([5], np.int32), 500, COUNTS, np.random.default_rng(1)
    )
    assert all(5 in row for row in single)


def test_density_of_a_sequence_never_drawn() -> None:
    """Without the last word, or shorter by two."""
    reference = np.array([4, 4, 4, 5], np.int32)
    rows = [np.array(row, np.int32) for row in ([4, 4, 4, 4], [4, 5], [], [4, 4, 5])]
    densities = EditProposal().log_density(rows, reference, COUNTS)
    assert np.isneginf(densities).tolist() == [True, True, True, False]


def test_density_does_not_underflow() -> None:
    """300 words, all of them others but the last: each costs x / V' and more."""
    reference = np.full(300, 4, np.int32)
    other = np.full(300, 5, np.int32)
    other[-1] = 4
    counts = np.ones(22_824, np.int64)
    density = EditProposal().log_density([other], reference, counts)[0]
    x = EditProposal().edit_weight(22_820)
    assert 299 * math.log(x / 22_820) - 300 < density < 299 * math.log(x / 22_820) + 100


def test_temperature_that_never_stops() -> None:
    """x must be below 1: tau below (1 + ln V') / ln V' if rescaled, else below 1 / ln V'."""
    assert EditProposal(temperature=1.09).edit_weight(22_820) < 1
    with pytest.raises(
        UserError, match=r"temperature 1.1 would insert words without end: set it below 1.0996"
    ):
        EditProposal(temperature=1.1).edit_weight(22_820)
    with pytest.raises(UserError, match=r"below 0.0996"):
        EditProposal(rescaled=False).edit_weight(22_820)


def test_published_temperature() -> None:
    """About one edit for 20 words, as by Hamming distance."""
    assert EditProposal() == EditProposal(temperature=0.85, rescaled=True)
    assert EditProposal().edit_weight(22_820) == pytest.approx(0.0525, abs=1e-4)
