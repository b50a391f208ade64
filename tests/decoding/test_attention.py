import math

import pytest
import torch
from torch.testing import assert_close

from raysq.decoding.attention import attention_weights
from raysq.models import Seq2Seq
from raysq.types import BOS, Memory


def test_literal() -> None:
    """A decoder that keeps its cell, so that h = tanh(c) = (0, 1/2) at every step: scores 0 and ln 3."""
    policy = Seq2Seq(
        6, 6, embedding_size=2, hidden_size=2, attention="dot", input_feeding=False, attention_bias=False
    )
    for parameter in policy.decoder.parameters():
        parameter.data.zero_()
    gates = torch.tensor([-50.0, 50.0, 0.0, 50.0]).repeat_interleave(2)  # input, forget, cell, output
    policy.decoder.bias_ih_l0.data.copy_(gates)
    states = torch.tensor([[[7.0, 0.0], [0.0, 2 * math.log(3)], [9.0, 9.0]]])
    cell = torch.tensor([[0.0, math.atanh(0.5)]])
    memory = Memory(states, states, torch.tensor([[True, True, False]]), torch.zeros(1, 2), cell)
    weights = attention_weights(policy, memory, torch.tensor([[BOS, 4]]))
    assert_close(weights, torch.tensor([[[0.25, 0.75, 0.0]] * 2]))


@pytest.mark.parametrize("attention", ["dot", "additive"])
@pytest.mark.parametrize("input_feeding", [False, True])
def test_features_are_made_with_these_weights(attention: str, input_feeding: bool, float64: None) -> None:
    """Every step written out by hand, its context from the weights: the features of a teacher-forced pass."""
    policy = Seq2Seq(
        9, 8, embedding_size=5, hidden_size=6, attention=attention, input_feeding=input_feeding,
        attention_bias=False,
    )  # fmt: skip
    policy.initialise(torch.Generator().manual_seed(1), 1.0)
    sources = torch.tensor([[4, 5, 6, 7, 2], [8, 5, 2, 0, 0]])
    inputs = torch.tensor([[BOS, 5, 3, 7], [BOS, 6, 4, 4]])
    with torch.no_grad():
        memory = policy.encode(sources, sources != 0)
        weights = attention_weights(policy, memory, inputs)
        hidden, cell, vector = memory.hidden, memory.cell, torch.zeros(2, 6)
        for t in range(4):
            read = policy.target_embedding(inputs[:, t])
            read = torch.cat((read, vector), 1) if input_feeding else read
            hidden, cell = torch.lstm_cell(read, (hidden, cell), *policy.decoder.all_weights[0])
            context = (weights[:, t].unsqueeze(2) * memory.states).sum(1)
            vector = torch.tanh(policy.combine(torch.cat((hidden, context), 1)))
            assert_close(vector, policy.features(memory, inputs)[:, t], rtol=0, atol=1e-12)
    assert (weights[1, :, 3:] == 0).all()
    assert (weights[0] - 1 / 5).abs().max() > 0.005  # far above the tolerance: a wrong weight would show
