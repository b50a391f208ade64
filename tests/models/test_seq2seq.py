import copy
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from raysq.models import OutputLayer, Seq2Seq
from raysq.types import BOS, EOS, FIRST_ACTION, PAD, Memory

Attention = Literal["dot", "additive"]
VARIANTS = [
    pytest.param(attention, input_feeding, id=f"{attention}{'-input_feeding' * input_feeding}")
    for attention in ("dot", "additive")
    for input_feeding in (False, True)
]
SOURCE = torch.tensor([[4, 5, 6, 7, EOS], [8, 5, EOS, PAD, PAD], [EOS, PAD, PAD, PAD, PAD]])
INPUTS = torch.tensor([[BOS, 4, 5, 6], [BOS, 7, PAD, PAD], [BOS, 5, 4, PAD]])
M, T, H = 3, 4, 6


def network(attention: Attention = "dot", input_feeding: bool = False, **changes: Any) -> Seq2Seq:
    """A small network with large parameters, so that everything matters."""
    settings: dict[str, Any] = {"embedding_size": 5, "hidden_size": H, "attention_bias": attention != "dot"}
    settings |= {"attention": attention, "input_feeding": input_feeding}
    made = Seq2Seq(9, 8, **settings | changes)
    made.initialise(torch.Generator().manual_seed(1), init_range=1.0)
    return made


def dropout_masks(dtype: torch.dtype) -> Tensor:
    return (torch.rand(M, T, H, generator=torch.Generator().manual_seed(2)) > 0.3).to(dtype) / 0.7


def scan(net: Seq2Seq, memory: Memory, inputs: Tensor, masks: Tensor | None) -> Tensor:
    """Features [M, T, H] one step at a time."""
    state, vectors = net.initial_state(memory), []
    for t in range(inputs.shape[1]):
        vector, state = net.step(memory, state, inputs[:, t], None if masks is None else masks[:, t])
        vectors.append(vector)
    return torch.stack(vectors, 1)


@pytest.mark.parametrize("with_dropout", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("attention", "input_feeding"), VARIANTS)
def test_features_are_a_scan_of_steps(
    attention: Attention, input_feeding: bool, dtype: torch.dtype, tolerance: float, with_dropout: bool
) -> None:
    net = network(attention, input_feeding).to(dtype)
    memory = net.encode(SOURCE, SOURCE != PAD)
    masks = dropout_masks(dtype) if with_dropout else None
    features = net.features(memory, INPUTS, masks)
    assert features.dtype == dtype
    assert_close(features, scan(net, memory, INPUTS, masks), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("attention", "input_feeding"), VARIANTS)
def test_steps_and_features_have_the_same_gradient(
    float64: None, attention: Attention, input_feeding: bool
) -> None:
    net, factors = network(attention, input_feeding), torch.randn(M, T, H)
    gradients = []
    for forward in (net.features, lambda *given: scan(net, *given)):
        memory = net.encode(SOURCE, SOURCE != PAD)
        features = forward(memory, INPUTS, dropout_masks(torch.float64))
        wanted = [p for name, p in net.named_parameters() if not name.startswith("output")]
        gradients.append(torch.autograd.grad((factors * features).sum(), wanted))
    for got, want in zip(*gradients, strict=True):
        assert_close(got, want, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("attention", "input_feeding"), VARIANTS)
def test_one_step_is_its_equations(float64: None, attention: Attention, input_feeding: bool) -> None:
    """LSTM, attention, a = tanh(W [h; c] + b) times the mask; with input feeding the LSTM reads [e; a]."""
    net = network(attention, input_feeding)
    memory, masks = net.encode(SOURCE, SOURCE != PAD), dropout_masks(torch.float64)
    cell = torch.nn.LSTMCell(net.decoder.input_size, H)
    for name, parameter in net.decoder.named_parameters():
        getattr(cell, name.removesuffix("_l0")).data = parameter.data
    hidden, state, vector = memory.hidden, memory.cell, torch.zeros(M, H)
    expected = []
    for t in range(T):
        embedded = net.target_embedding.weight[INPUTS[:, t]]
        read = torch.cat((embedded, vector), 1) if input_feeding else embedded
        hidden, state = cell(read, (hidden, state))
        context = net.attention(hidden.unsqueeze(1), memory.keys, memory.states, memory.mask).squeeze(1)
        bias = 0 if net.combine.bias is None else net.combine.bias
        vector = torch.tanh(torch.cat((hidden, context), 1) @ net.combine.weight.t() + bias) * masks[:, t]
        expected.append(vector)
    assert_close(net.features(memory, INPUTS, masks), torch.stack(expected, 1), rtol=0, atol=1e-12)


def test_the_attention_bias_is_an_option() -> None:
    assert network(attention_bias=False).combine.bias is None
    assert network(attention_bias=True).combine.bias is not None


@pytest.mark.parametrize(("attention", "input_feeding"), VARIANTS)
def test_padding_of_the_source_changes_nothing(
    float64: None, attention: Attention, input_feeding: bool
) -> None:
    net = network(attention, input_feeding)
    features = net.features(net.encode(SOURCE, SOURCE != PAD), INPUTS)
    wider = torch.cat((SOURCE, torch.full((M, 3), PAD)), 1)
    assert_close(net.features(net.encode(wider, wider != PAD), INPUTS), features, rtol=0, atol=1e-12)
    junk = torch.where(wider == PAD, 5, wider)  # what stands under the mask is not read
    assert_close(net.features(net.encode(junk, wider != PAD), INPUTS), features, rtol=0, atol=1e-12)
    for m in range(M):
        alone = SOURCE[m : m + 1][:, SOURCE[m] != PAD]
        one = net.features(net.encode(alone, alone != PAD), INPUTS[m : m + 1])
        asked = INPUTS[m] != PAD
        assert_close(one[0, asked], features[m, asked], rtol=0, atol=1e-12)


def test_later_inputs_do_not_change_earlier_features(float64: None) -> None:
    net = network()
    memory = net.encode(SOURCE, SOURCE != PAD)
    other = INPUTS.clone()
    other[:, 2:] = 7
    before, after = net.features(memory, INPUTS), net.features(memory, other)
    assert_close(after[:, :2], before[:, :2], rtol=0, atol=1e-12)
    assert (after[:, 2:] - before[:, 2:]).abs().amax(-1).min() > 1e-3


def test_the_decoder_starts_from_the_encoders_last_states(float64: None) -> None:
    """Forward: the state at the last real token; backward: at the first. Concatenated."""
    net = network()
    memory = net.encode(SOURCE, SOURCE != PAD)
    last = (SOURCE != PAD).sum(1) - 1
    assert_close(memory.hidden[:, : H // 2], memory.states[torch.arange(M), last, : H // 2])
    assert_close(memory.hidden[:, H // 2 :], memory.states[:, 0, H // 2 :])
    _, (_, cell) = net.encoder(net.source_embedding(SOURCE[:1]))
    assert_close(memory.cell[0], cell.flatten())


def test_memory_repeat_and_select(float64: None) -> None:
    net = network("additive")
    memory = net.encode(SOURCE, SOURCE != PAD)
    twice = memory.repeat(2)
    assert torch.equal(twice.mask.sum(1), torch.tensor([5, 5, 3, 3, 1, 1]))
    features = net.features(memory, INPUTS)
    repeated = net.features(twice, INPUTS.repeat_interleave(2, 0))
    assert_close(repeated, features.repeat_interleave(2, 0), rtol=0, atol=1e-12)
    rows = torch.tensor([2, 0, 0])
    assert_close(net.features(memory.select(rows), INPUTS[rows]), features[rows], rtol=0, atol=1e-12)
    assert memory.repeat(1) is memory


def test_state_select() -> None:
    net = network()
    state = net.initial_state(net.encode(SOURCE, SOURCE != PAD))
    chosen = state.select(torch.tensor([2, 2, 1]))
    assert torch.equal(chosen.hidden, state.hidden[[2, 2, 1]])
    assert torch.equal(chosen.cell, state.cell[[2, 2, 1]])
    assert (chosen.attention == 0).all()


def test_initialise_is_deterministic_uniform_and_within_range() -> None:
    first, second = network(hidden_size=40), network(hidden_size=40)
    torch.manual_seed(7)
    for made in (first, second):
        made.initialise(torch.Generator().manual_seed(3), init_range=0.1)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, second.get_parameter(name)), name
        assert parameter.abs().max() <= 0.1
    drawn = torch.cat([parameter.flatten() for parameter in first.parameters()]).double()
    assert drawn.min() < -0.099
    assert drawn.max() > 0.099
    assert abs(drawn.mean()) < 5 * 0.1 / 3**0.5 / len(drawn) ** 0.5
    assert drawn.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.02)
    second.initialise(torch.Generator().manual_seed(4), init_range=0.1)
    assert all((second.get_parameter(name) != p).any() for name, p in first.named_parameters())


def test_initialise_gives_the_same_numbers_in_either_precision() -> None:
    net, double = network(), network().double()
    double.initialise(torch.Generator().manual_seed(1), init_range=1.0)
    for name, parameter in net.named_parameters():
        assert torch.equal(double.get_parameter(name).float(), parameter), name


def test_a_copy_is_apart() -> None:
    """The target critic is a deep copy whose parameters move in place: its steps must read its own."""
    net = network("additive")
    twin = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(0.5)
    memory = twin.encode(SOURCE, SOURCE != PAD)
    assert_close(twin.features(memory, INPUTS), scan(twin, memory, INPUTS, None), rtol=0, atol=1e-6)
    untouched = network("additive")
    memory = net.encode(SOURCE, SOURCE != PAD)
    assert torch.equal(scan(net, memory, INPUTS, None), scan(untouched, memory, INPUTS, None))


def test_pad_and_bos_have_probability_zero() -> None:
    layer = OutputLayer(2, 6)
    with torch.no_grad():
        layer.weight.copy_(torch.full((6, 2), 3.0))
        layer.bias.copy_(torch.tensor([50.0, 50.0, 0.0, 1.0, 2.0, 3.0]))
    features = torch.tensor([[1.0, 1.0], [-1.0, 0.5]])
    pi = torch.softmax(layer.logits(features), 1)
    assert (pi[:, :FIRST_ACTION] == 0).all()
    assert_close(pi[:, FIRST_ACTION:], torch.softmax(torch.arange(4.0), 0).expand(2, 4))
    assert torch.equal(layer.policy_bias()[FIRST_ACTION:], layer.bias[FIRST_ACTION:])
    assert "forbidden" not in layer.state_dict()


def test_the_pad_embedding_is_never_trained(float64: None) -> None:
    net = network("additive")
    features = net.features(net.encode(SOURCE, SOURCE != PAD), INPUTS)
    features.square().sum().backward()
    for embedding in (net.source_embedding, net.target_embedding):
        assert embedding.weight.grad is not None
        assert (embedding.weight.grad[PAD] == 0).all()
        assert (embedding.weight.grad[EOS if embedding is net.source_embedding else BOS] != 0).any()
