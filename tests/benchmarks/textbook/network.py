"""Forward passes of a ``Seq2Seq`` as a textbook writes them; shapes as in ``raysq.types``."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from raysq.algorithms.base import critic_input
from raysq.models import EncoderDecoder, Seq2Seq
from raysq.models.attention import AdditiveAttention
from raysq.types import Batch, Memory, Samples

LstmState = tuple[Tensor, Tensor]
"""Hidden state and cell [M, H]."""


def recurrent(network: EncoderDecoder) -> Seq2Seq:
    """A network that these passes are of."""
    assert isinstance(network, Seq2Seq)
    return network


def encode(network: Seq2Seq, tokens: Tensor, mask: Tensor) -> Memory:
    """Read tokens [M, S]; the keys are the states themselves, whatever the attention."""
    packed = pack_padded_sequence(
        network.source_embedding(tokens), mask.sum(1).cpu(), batch_first=True, enforce_sorted=False
    )
    outputs, (hidden, cell) = network.encoder(packed)
    states, _ = pad_packed_sequence(outputs, batch_first=True, total_length=tokens.shape[1])
    return Memory(states, states, mask, torch.cat((*hidden,), dim=1), torch.cat((*cell,), dim=1))


def features(network: Seq2Seq, memory: Memory, inputs: Tensor, *, dropout: bool = False) -> Tensor:
    """Attention vectors [M, T, H] for inputs [M, T], padding included; with fresh dropout if asked."""
    assert not network.input_feeding
    start = (memory.hidden.unsqueeze(0), memory.cell.unsqueeze(0))
    hidden, _ = network.decoder(network.target_embedding(inputs), start)
    return _attend(network, memory, hidden, dropout)


def step(
    network: Seq2Seq, memory: Memory, state: LstmState, token: Tensor, *, dropout: bool = False
) -> tuple[Tensor, LstmState]:
    """Attention vectors [M, H] after one more token [M], and the next state."""
    assert not network.input_feeding
    embedded = network.target_embedding(token)
    hidden, cell = torch.lstm_cell(embedded, state, *network.decoder.all_weights[0])
    return _attend(network, memory, hidden.unsqueeze(1), dropout).squeeze(1), (hidden, cell)


def policy_logits(policy: Seq2Seq, vectors: Tensor) -> Tensor:
    """Logits [.., V] of attention vectors [.., H]; pad and bos, which are no actions, get probability 0."""
    return F.linear(vectors, policy.output.weight, policy.output.policy_bias())


def policy_forward(policy: Seq2Seq, batch: Batch, samples: Samples) -> Tensor:
    """Logits [M, T, V] of the samples' positions given their sources, with dropout."""
    memory = encode(policy, batch.source, batch.source_mask).repeat(samples.num_per_example)
    return policy_logits(policy, features(policy, memory, samples.inputs, dropout=True))


def critic_forward(critic: Seq2Seq, batch: Batch, samples: Samples) -> Tensor:
    """Q [M, T, V] of the samples' positions given their references, without dropout."""
    memory = encode(critic, *critic_input(batch)).repeat(samples.num_per_example)
    return F.linear(features(critic, memory, samples.inputs), critic.output.weight, critic.output.bias)


def oracle_forward(oracle: Seq2Seq, batch: Batch, samples: Samples, *, dropout: bool) -> Tensor:
    """Q [M, T, V] of a soft-Q oracle, which has no pad and bos in its softmax."""
    memory = encode(oracle, *critic_input(batch)).repeat(samples.num_per_example)
    return policy_logits(oracle, features(oracle, memory, samples.inputs, dropout=dropout))


def _attend(network: Seq2Seq, memory: Memory, hidden: Tensor, dropout: bool) -> Tensor:
    """a_t = tanh(W [h_t; c_t]) [M, T, H] for hidden states [M, T, H]."""
    scores = _scores(network, memory.states, hidden)
    weights = torch.softmax(scores.masked_fill(~memory.mask.unsqueeze(1), float("-inf")), dim=-1)
    context = torch.bmm(weights, memory.states)
    vectors = torch.tanh(network.combine(torch.cat((hidden, context), dim=-1)))
    return F.dropout(vectors, network.dropout, training=dropout)


def _scores(network: Seq2Seq, states: Tensor, queries: Tensor) -> Tensor:
    """Scores [M, T, S]: q . s, or v . tanh(W [q; s] + b) of every pair, W = [W_q W_k]."""
    attention = network.attention
    if not isinstance(attention, AdditiveAttention):
        return torch.bmm(queries, states.transpose(1, 2))
    T, S = queries.shape[1], states.shape[1]
    pairs = torch.cat(
        (queries.unsqueeze(2).expand(-1, -1, S, -1), states.unsqueeze(1).expand(-1, T, -1, -1)), dim=-1
    )
    weight = torch.cat((attention.query.weight, attention.key.weight), dim=1)
    return attention.score(torch.tanh(F.linear(pairs, weight, attention.key.bias))).squeeze(-1)
