import pytest
import torch
from torch.testing import assert_close

from raysq.losses import chosen_q, q_variance, squared_td_error, td_targets
from raysq.losses.temporal_difference import VarianceForm


def test_td_targets_literal() -> None:
    """Three sequences of 3, 1 and 2 rows: the value after eos is 0, never the next sequence's."""
    rewards = torch.tensor([1.0, 2.0, 0.0, 0.0, 4.0, 0.5])
    values = torch.tensor([10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
    last = torch.tensor([False, False, True, True, False, True])
    targets = td_targets(rewards, values, last)
    assert targets.tolist() == [21.0, 32.0, 0.0, 0.0, 64.0, 0.5]


def test_td_targets_of_no_rows() -> None:
    empty = torch.zeros(0)
    assert td_targets(empty, empty, empty.bool()).shape == (0,)


def test_chosen_q_literal() -> None:
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]])
    bias = torch.tensor([0.0, 10.0, 100.0])
    features = torch.tensor([[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    assert chosen_q(features, weight, bias, torch.tensor([2, 0, 2])).tolist() == [102.0, 5.0, 106.0]


def test_chosen_q_is_the_column_of_the_full_matrix(float64: None) -> None:
    features, weight, bias = (torch.randn(shape, requires_grad=True) for shape in ((7, 4), (9, 4), (9,)))
    tokens = torch.tensor([2, 8, 8, 3, 2, 5, 4])
    factors = torch.randn(7)
    full = (features @ weight.t() + bias).gather(1, tokens.unsqueeze(1)).squeeze(1)
    mine = chosen_q(features, weight, bias, tokens)
    assert_close(mine, full, rtol=0, atol=1e-12)
    leaves = (features, weight, bias)
    expected = torch.autograd.grad((factors * full).sum(), leaves)
    for got, want in zip(torch.autograd.grad((factors * mine).sum(), leaves), expected, strict=True):
        assert_close(got, want, rtol=0, atol=1e-12)


def test_squared_td_error_literal_and_constant_in_its_target() -> None:
    q = torch.tensor([1.0, 5.0], requires_grad=True)
    targets = torch.tensor([4.0, 3.0], requires_grad=True)
    loss = squared_td_error(q, targets)
    assert loss.tolist() == [9.0, 4.0]
    loss.sum().backward()
    assert q.grad is not None
    assert q.grad.tolist() == [-6.0, 4.0]  # the full square, not half of it
    assert targets.grad is None


def test_q_variance_literal() -> None:
    """Q rows (1, 2, 6) and (0, 0, 3): squared deviations 14 and 6."""
    features = torch.tensor([[1.0], [0.0]])
    weight = torch.tensor([[1.0], [2.0], [3.0]])
    bias = torch.tensor([0.0, 0.0, 3.0])
    assert q_variance(features, weight, bias, "sum").item() == pytest.approx(20.0)
    assert q_variance(features, weight, bias).item() == pytest.approx(10.0)


@pytest.mark.parametrize("form", ["variance", "sum"])
def test_q_variance_is_that_of_the_full_matrix(float64: None, form: VarianceForm) -> None:
    features, weight, bias = (torch.randn(shape, requires_grad=True) for shape in ((7, 4), (9, 4), (9,)))
    q = features @ weight.t() + bias
    direct = q.var(dim=1, unbiased=True).sum() if form == "variance" else ((q - q.mean(1, True)) ** 2).sum()
    mine = q_variance(features, weight, bias, form)
    assert_close(mine, direct, rtol=0, atol=1e-11)
    leaves = (features, weight, bias)
    expected = torch.autograd.grad(direct, leaves)
    for got, want in zip(torch.autograd.grad(mine, leaves), expected, strict=True):
        assert_close(got, want, rtol=0, atol=1e-11)


def test_q_variance_in_float32_under_a_large_common_bias() -> None:
    generator = torch.Generator().manual_seed(1)
    features, weight = (torch.randn(n, 16, generator=generator, dtype=torch.float64) for n in (30, 200))
    bias = torch.randn(200, generator=generator, dtype=torch.float64)
    exact = q_variance(features, weight, bias).item()
    shifted = q_variance(features.float(), weight.float() + 100, bias.float() + 1000).item()
    assert shifted == pytest.approx(exact, rel=1e-4)


def test_q_variance_of_no_rows() -> None:
    assert q_variance(torch.zeros(0, 4), torch.randn(9, 4), torch.randn(9)).item() == 0
