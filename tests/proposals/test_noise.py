import numpy as np
import pytest

from raysq.config import UserError
from raysq.proposals import UniformNoise, UnigramNoise

REFERENCE = np.array([4, 5, 6], np.int32)


def test_published_rates() -> None:
    assert UniformNoise().rate == 0.2
    assert UnigramNoise().rate == 0.1


def test_uniform_density_of_a_row() -> None:
    noise, counts = UniformNoise(rate=0.3), np.zeros(9, np.int64)
    rows = [REFERENCE, np.array([4, 7, 6], np.int32), np.array([4, 5], np.int32)]
    kept, other = 0.7 + 0.3 / 5, 0.3 / 5
    expected = [kept**3, kept**2 * other, 0.0]
    np.testing.assert_allclose(np.exp(noise.log_density(rows, REFERENCE, counts)), expected, rtol=1e-12)


def test_unigram_density_of_a_row() -> None:
    """A word that never occurs is never drawn; the counts of specials do not matter."""
    noise, counts = UnigramNoise(rate=0.5), np.array([9, 9, 9, 9, 6, 3, 0, 1])
    rows = [REFERENCE, np.array([4, 7, 6], np.int32), np.array([6, 5, 6], np.int32)]
    expected = [0.8 * 0.65 * 0.5, 0.8 * 0.05 * 0.5, 0.0]
    np.testing.assert_allclose(np.exp(noise.log_density(rows, REFERENCE, counts)), expected, rtol=1e-12)


def test_unigram_without_text() -> None:
    with pytest.raises(UserError, match="no words to draw noise from"):
        UnigramNoise().draw(REFERENCE, 3, np.array([9, 9, 9, 9, 0, 0, 0]), np.random.default_rng(1))


@pytest.mark.parametrize("noise", [UniformNoise(rate=0), UnigramNoise(rate=0)])
def test_no_noise_is_the_reference(noise: UniformNoise | UnigramNoise) -> None:
    counts = np.array([9, 9, 9, 9, 5, 1, 2])
    assert all((row == REFERENCE).all() for row in noise.draw(REFERENCE, 9, counts, np.random.default_rng(1)))
    assert noise.log_density([REFERENCE], REFERENCE, counts).tolist() == [0.0]
