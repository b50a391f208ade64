import math

import numpy as np
import pytest

from raysq.config import UserError
from raysq.proposals import BoundedHamming, HammingReplacement

WORDS = 22_820
COUNTS = np.ones(WORDS + 4, np.int64)


@pytest.mark.parametrize(
    ("temperature", "rate"),
    [(0.7, 0.0032), (0.75, 0.0092), (0.8, 0.0228), (0.85, 0.0499), (0.9, 0.0974), (0.95, 0.171)],
)
def test_rate_of_a_temperature(temperature: float, rate: float) -> None:
    """Section C.1 of the design."""
    found = HammingReplacement(temperature=temperature).replacement_rate(WORDS)
    assert found == pytest.approx(rate, abs=6e-5 if rate < 0.1 else 6e-4)


def test_published_temperature() -> None:
    assert HammingReplacement() == HammingReplacement(
        temperature=0.85, rescaled=True, rate=None, protect_last=False
    )
    assert BoundedHamming().max_share == 0.2


@pytest.mark.parametrize(("T", "unchanged", "mean"), [(20, 0.3596, 0.997), (50, 0.0775, 2.49)])
def test_distances_of_the_published_temperature(T: int, unchanged: float, mean: float) -> None:
    """P(e = 0) by the density, E[e] by draws."""
    hamming, reference = HammingReplacement(), np.arange(4, 4 + T, dtype=np.int32)
    assert math.exp(hamming.log_density([reference], reference, COUNTS)[0]) == pytest.approx(
        unchanged, abs=1e-4
    )
    rows = hamming.draw_rows(reference, 20_000, COUNTS, np.random.default_rng(1))
    assert (rows != reference).sum(1).mean() == pytest.approx(mean, abs=5 * math.sqrt(mean / 20_000))


def test_unscaled_replaces_every_word() -> None:
    """tau = 0.85 without rescaling: the mean of e is 20.0 for 20 words."""
    assert HammingReplacement(rescaled=False).replacement_rate(WORDS) == pytest.approx(1, abs=1e-3)


def test_it_is_raml() -> None:
    """q0(y) ~ exp(-e / tau), so that log q0 falls by 1 / tau for each word changed."""
    reference = np.array([4, 5, 6, 4], np.int32)
    rows = [reference, np.array([4, 5, 5, 4], np.int32), np.array([5, 4, 5, 6], np.int32)]
    plain = HammingReplacement(temperature=0.6, rescaled=False).log_density(rows, reference, np.ones(7))
    np.testing.assert_allclose(plain - plain[0], [0, -1 / 0.6, -4 / 0.6], rtol=1e-12)
    scaled = HammingReplacement(temperature=0.6).log_density(rows, reference, np.ones(7))
    step = (1 + math.log(2)) / 0.6
    np.testing.assert_allclose(scaled - scaled[0], [0, -step, -4 * step], rtol=1e-12)


def test_a_rate_leaves_a_temperature_nothing_to_say() -> None:
    for name, value in (("temperature", 0.6), ("rescaled", False)):
        with pytest.raises(ValueError, match=f"`{name}` has no effect with `rate`: leave it at"):
            HammingReplacement.model_validate({"rate": 0.3, name: value})


def test_rate_instead_of_temperature() -> None:
    assert HammingReplacement(rate=0.3).replacement_rate(WORDS) == 0.3
    assert HammingReplacement(temperature=1e-3).replacement_rate(WORDS) == 0.0


def test_rate_one_leaves_no_word() -> None:
    reference = np.array([4, 3, 6], np.int32)
    rows = HammingReplacement(rate=1).draw_rows(reference, 500, np.ones(7), np.random.default_rng(1))
    assert (rows != reference).all()
    assert set(rows[:, 1]) == {4, 5, 6}


def test_last_word_protected() -> None:
    reference = np.array([4, 5, 6], np.int32)
    hamming = HammingReplacement(rate=1, protect_last=True)
    rows = hamming.draw_rows(reference, 500, np.ones(7), np.random.default_rng(1))
    assert (rows[:, 2] == 6).all()
    assert (rows[:, :2] != reference[:2]).all()
    changed = np.array([5, 4, 4], np.int32)
    assert hamming.log_density([changed], reference, np.ones(7)).tolist() == [-np.inf]


@pytest.mark.parametrize(
    ("share", "T", "most"), [(0.2, 4, 0), (0.2, 5, 1), (0.2, 24, 4), (0.29, 100, 29), (1, 3, 3)]
)
def test_most_words_replaced(share: float, T: int, most: int) -> None:
    assert BoundedHamming(max_share=share).most(T) == most


def test_bounded_density() -> None:
    """1 / ((E + 1) C(T, e) (V' - 1)^e), and V' in the place of V' - 1 for unk."""
    reference = np.array([4, 5, 3, 4, 5], np.int32)
    one, two, unknown, three = (reference.copy() for _ in range(4))
    one[0], two[:2], unknown[2], three[[0, 1, 4]] = 5, (6, 6), 5, 6
    densities = BoundedHamming(max_share=0.5).log_density(
        [reference, one, two, unknown, three], reference, np.ones(8)
    )
    expected = [1 / 3, 1 / (3 * 5 * 3), 1 / (3 * 10 * 9), 1 / (3 * 5 * 4), 0]
    np.testing.assert_allclose(np.exp(densities), expected, rtol=1e-12)


def test_bounded_distance_is_uniform() -> None:
    reference = np.arange(4, 29, dtype=np.int32)
    rows = BoundedHamming().draw_rows(reference, 60_000, COUNTS, np.random.default_rng(1))
    changed = rows != reference
    assert (abs(np.bincount(changed.sum(1)) - 10_000) < 5 * math.sqrt(60_000 * 5 / 36)).all()
    assert (abs(changed.sum(0) - 60_000 * 0.1) < 5 * math.sqrt(60_000 * 0.1)).all()


def test_a_vocabulary_too_small() -> None:
    with pytest.raises(UserError, match="proposals need 2"):
        HammingReplacement().draw(np.array([4], np.int32), 1, np.ones(5), np.random.default_rng(1))
