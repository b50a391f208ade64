import numpy as np
import pytest

from raysq.calibration import calibration


def test_rows_and_bins_by_hand() -> None:
    """30 words at position 1, Q = 1 .. 30 and G = 2 Q; 29 at position 3, too few for a row; none at 2."""
    position = np.array([1] * 30 + [3] * 29)
    q = np.array([*range(1, 31), *[100] * 29], float)
    returns = np.array([*range(2, 62, 2), *[7] * 29], float)
    whole, first = calibration(position, q, returns)
    assert {k: first[k] for k in ("position", "n", "mean_q", "mean_return")} == {
        "position": 1,
        "n": 30,
        "mean_q": 15.5,
        "mean_return": 31.0,
    }
    assert first["correlation"] == pytest.approx(1.0)
    assert first["bins"] == [[3 * k + 2, 6 * k + 4, 3] for k in range(10)]
    assert (whole["position"], whole["n"]) == (0, 59)
    assert whole["mean_q"] == pytest.approx((465 + 2900) / 59)
    assert whole["bins"][-1] == [100.0, 7.0, 29]
    assert sum(n for _, _, n in whole["bins"]) == 59


def test_equal_q_are_not_told_apart_by_what_came_of_them() -> None:
    """Of 40 words 20 have Q = 0 and 20 have Q = 1: two bins with the mean return of each, in any order."""
    q = np.repeat([0.0, 1.0], 20)
    returns = np.arange(40.0)
    for order in (np.arange(40), np.arange(40)[::-1], np.random.default_rng(1).permutation(40)):
        whole, _ = calibration(np.ones(40, int), q[order], returns[order])
        assert whole["bins"] == [[0.0, 9.5, 20], [1.0, 29.5, 20]]
        assert whole["correlation"] == pytest.approx(10 / (1599 / 12) ** 0.5)


def test_a_constant_critic_has_one_bin_and_no_correlation() -> None:
    (whole,) = calibration(np.arange(5), np.full(5, 0.3), np.arange(5.0))
    assert whole["correlation"] == 0.0
    assert whole["bins"] == [[pytest.approx(0.3), 2.0, 5]]


def test_no_words_no_rows() -> None:
    nothing = np.zeros(0)
    assert calibration(nothing.astype(int), nothing, nothing) == []
