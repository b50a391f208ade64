import pytest

from raysq.report.summary import PairedSeeds, Summary


def test_summary_has_the_standard_deviation_of_a_sample():
    assert Summary.of([2.0, 4.0, 9.0]) == Summary(5.0, pytest.approx(3.605551275), 2.0, 9.0, 3)


def test_one_run_has_no_spread():
    assert Summary.of([2.0]) == Summary(2.0, None, 2.0, 2.0, 1)


def test_three_seeds_that_all_gain():
    """t quantile 4.302653 with 2 degrees of freedom; 2 of 8 changes of sign are as far from 0."""
    seeds = PairedSeeds.of([1.0, 2.0, 3.0])
    half = 4.302652729749462 / 3**0.5
    assert seeds.interval == pytest.approx((2 - half, 2 + half), rel=1e-9)
    assert (seeds.mean, seeds.n, seeds.better) == (2.0, 3, 3)
    assert (seeds.p_signs_flipped, seeds.p_sign_test, seeds.least_p) == (0.25, 0.25, 0.25)


def test_signs_flipped_counts_means_as_far_from_zero():
    """Of the 16 sums of +-1 +-2 +-3 +-4, those with |sum| >= 8: 10, 8 and their negatives."""
    assert PairedSeeds.of([-1.0, 2.0, 3.0, 4.0]).p_signs_flipped == 4 / 16


def test_sign_test_leaves_equal_pairs_out():
    """4 of 5 unequal pairs are better: 2 (1 + 5) / 32."""
    assert PairedSeeds.of([1.0, 1.0, 1.0, 1.0, -1.0, 0.0]).p_sign_test == 12 / 32


def test_the_same_scores_prove_nothing():
    seeds = PairedSeeds.of([0.0, 0.0])
    assert (seeds.p_signs_flipped, seeds.p_sign_test, seeds.better) == (1.0, 1.0, 0)


def test_one_pair_says_nothing():
    seeds = PairedSeeds.of([5.0])
    assert (seeds.interval, seeds.deviation, seeds.p_signs_flipped, seeds.least_p) == (None, None, 1.0, 1.0)


def test_signs_of_many_pairs_are_not_enumerated():
    assert PairedSeeds.of([1.0] * 16).p_signs_flipped == 2 / 2**16
    assert PairedSeeds.of([1.0] * 17).p_signs_flipped is None
