import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from raysq.models import products
from raysq.models.attention import AdditiveAttention, DotAttention

M, T, S, H = 3, 4, 5, 6


@pytest.fixture
def inputs(float64: None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [M, T, H], states [M, S, H] and their mask [M, S], rows of 5, 3 and 1 states."""
    generator = torch.Generator().manual_seed(1)
    query, states = (torch.randn(M, length, H, generator=generator) for length in (T, S))
    return query, states, torch.arange(S) < torch.tensor([[5], [3], [1]])


def attend(attention: nn.Module, query: Tensor, states: Tensor, mask: Tensor) -> Tensor:
    return attention(query, attention.project(states), states, mask)  # type: ignore[operator]


def test_dot_literal() -> None:
    """Scores 0 and ln 3, so weights 1/4 and 3/4; the third state is padding."""
    states = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [9.0, 9.0]]])
    query = torch.tensor([[[0.0, math.log(3)]]])
    context = attend(DotAttention(), query, states, torch.tensor([[True, True, False]]))
    assert_close(context, torch.tensor([[[1.0, 0.75]]]))


def test_weights_literal() -> None:
    """Dot product: scores 0 and ln 3. Additive, v = 1, W_q = W_k = 1: scores tanh(1 + 0) and tanh(1 + 2)."""
    mask = torch.tensor([[True, True, False]])
    states = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [9.0, 9.0]]])
    dot = DotAttention().weights(torch.tensor([[[0.0, math.log(3)]]]), states, mask)
    assert_close(dot, torch.tensor([[[0.25, 0.75, 0.0]]]))
    additive = AdditiveAttention(1)
    for parameter in additive.parameters():
        parameter.data.fill_(1.0)
    additive.key.bias.data.zero_()
    keys = additive.project(torch.tensor([[[0.0], [2.0], [5.0]]]))
    odds = math.exp(math.tanh(3) - math.tanh(1))
    expected = torch.tensor([[[1 / (1 + odds), odds / (1 + odds), 0.0]]])
    assert_close(additive.weights(torch.tensor([[[1.0]]]), keys, mask), expected)


def test_dot_pair_by_pair(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    query, states, mask = inputs
    expected = torch.zeros(M, T, H)
    for m in range(M):
        real = states[m][mask[m]]
        for t in range(T):
            weights = torch.stack([query[m, t] @ state for state in real]).exp()
            expected[m, t] = (weights / weights.sum()) @ real
    assert_close(attend(DotAttention(), *inputs), expected, rtol=0, atol=1e-12)


def test_additive_is_its_textbook_form(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    """score(q, k) = v . tanh(W [q; k] + b), evaluated on every pair."""
    query, states, mask = inputs
    attention = AdditiveAttention(H)
    joint = torch.cat((attention.query.weight, attention.key.weight), dim=1)
    expected = torch.zeros(M, T, H)
    for m in range(M):
        real = states[m][mask[m]]
        for t in range(T):
            pairs = [torch.cat((query[m, t], state)) for state in real]
            hidden = [torch.tanh(joint @ pair + attention.key.bias) for pair in pairs]
            weights = torch.stack([attention.score.weight[0] @ h for h in hidden]).exp()
            expected[m, t] = (weights / weights.sum()) @ real
    assert_close(attend(attention, *inputs), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["dot", "additive"])
def test_padding_gets_no_weight_and_no_gradient(kind: str, inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    query, states, mask = inputs
    attention = AdditiveAttention(H) if kind == "additive" else DotAttention()
    filled = torch.where(mask.unsqueeze(2), states, torch.full_like(states, 1e3)).requires_grad_()
    context = attend(attention, query, filled, mask)
    assert_close(context, attend(attention, query, states, mask), rtol=0, atol=1e-12)
    assert_close(context[2], states[2, :1].expand(T, H), rtol=0, atol=1e-12)  # one state: all the weight
    context.square().sum().backward()
    assert filled.grad is not None
    assert (filled.grad[~mask] == 0).all()
    assert filled.grad[mask].abs().sum(1).min() > 0


@pytest.mark.parametrize("chunk_elements", [1, 5 * 4 * H, 1 << 18])
def test_additive_gradient_is_that_of_the_textbook_form(
    inputs: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch, chunk_elements: int
) -> None:
    """In chunks of any size, and with queries of which nothing is asked: as autograd through every pair."""
    monkeypatch.setattr(products, "CHUNK_ELEMENTS", chunk_elements)
    query, states, mask = inputs
    lengths = torch.tensor([4, 1, 2])
    asked = (torch.arange(T) < lengths[:, None]).unsqueeze(2)
    attention = AdditiveAttention(H)
    wanted_of = torch.randn(M, T, H, generator=torch.Generator().manual_seed(2)) * asked
    leaves = [query.requires_grad_(), states.requires_grad_(), *attention.parameters()]

    context = attention(query, attention.project(states), states, mask, lengths)
    got = torch.autograd.grad((context * wanted_of).sum(), leaves)

    pairs = torch.tanh(attention.query(query).unsqueeze(2) + attention.project(states).unsqueeze(1))
    scores = attention.score(pairs).squeeze(3).masked_fill(~mask.unsqueeze(1), float("-inf"))
    plain = torch.softmax(scores, 2) @ states
    wanted = torch.autograd.grad((plain * wanted_of).sum(), leaves)
    assert_close(context * asked, plain * asked, rtol=0, atol=1e-12)
    for gradient, expected in zip(got, wanted, strict=True):
        assert expected.abs().max() > 1e-3
        assert_close(gradient, expected, rtol=0, atol=1e-12)


def test_additive_without_sequences(float64: None) -> None:
    attention = AdditiveAttention(H)
    nothing = torch.empty(0, S, H)
    assert attend(attention, torch.empty(0, T, H), nothing, torch.empty(0, S, dtype=torch.bool)).shape == (
        0,
        T,
        H,
    )
