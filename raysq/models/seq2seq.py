"""The recurrent sequence-to-sequence network of Dai, Xie, Hovy (2018), which serves as policy and as critic.

A policy reads the source and its output layer gives logits; a critic reads the reference (bos .. eos) and
its output layer gives one raw Q per word. The output layer is apart from the features, so that losses can
apply it chunk by chunk (raysq.losses.vocabulary).
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from raysq.models.attention import AdditiveAttention, DotAttention
from raysq.models.products import fill_product
from raysq.types import FIRST_ACTION, PAD, Memory


class State(NamedTuple):
    """State of the decoder between two steps."""

    hidden: Tensor
    """[M, H]"""
    cell: Tensor
    """[M, H]"""
    attention: Tensor
    """[M, H] previous attention vector after dropout (read only with input feeding)."""

    def select(self, rows: Tensor) -> State:
        """Rows [K] int64 of the state, in that order: drops finished rows, reorders beams."""
        return State(*(part.index_select(0, rows) for part in self))


class Readout(NamedTuple):
    """A policy's output layer made ready for the many products of few rows that decoding takes."""

    columns: Tensor
    """[H, V] the weights, transposed: such products are faster so."""
    bias: Tensor
    """[V]"""

    def logits(self, features: Tensor) -> Tensor:
        """Logits [M, V] of one step's features [M, H], without gradient."""
        table = features.new_empty(len(features), len(self.bias), dtype=self.columns.dtype)
        fill_product(features.to(table.dtype), self.columns, table)
        return table.to(self.bias.dtype).add_(self.bias)


class OutputLayer(nn.Module):
    """Affine map from features [.., H] to one number per word [.., V]."""

    def __init__(
        self, hidden_size: int, vocabulary_size: int, product_type: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.product_type = product_type
        """Of the products in training and sampling; None: that of the weights. With ``torch.bfloat16`` their
        operands and results have 8 significant bits; bias, softmax and all sums over words are exact."""
        self.weight = nn.Parameter(torch.empty(vocabulary_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(vocabulary_size))
        # Finite, so that 0 * log 0 stays 0; exp(-1e4) is 0 in every precision.
        forbidden = torch.zeros(vocabulary_size)
        forbidden[:FIRST_ACTION] = -1e4
        self.register_buffer("forbidden", forbidden, persistent=False)

    forbidden: Tensor

    def policy_bias(self) -> Tensor:
        """[V] bias under which softmax gives pad and bos, which are no actions, probability 0."""
        return self.bias + self.forbidden

    def logits(self, features: Tensor) -> Tensor:
        """Policy logits [M, V] of features [M, H]; what takes many steps has a ``readout``."""
        return torch.addmm(self.policy_bias(), features, self.weight.t())

    @torch.no_grad()
    def readout(self, *, exact: bool) -> Readout:
        """What decoding needs of it, as it stands now; ``exact`` has products in the type of the weights."""
        dtype = None if exact else self.product_type
        return Readout(self.weight.t().to(dtype or self.weight.dtype).contiguous(), self.policy_bias())


class Seq2Seq(nn.Module):
    """Bi-LSTM encoder, LSTM decoder with attention, attention vector a_t = tanh(W [h_t; c_t]).

    ``features`` (a whole sequence, teacher-forced) and ``step`` (one token) are the same function of the
    same parameters. Dropout acts on the attention vector only, through masks handed in by the caller: so a
    second pass over a sample can use the masks of the pass that drew it.
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        *,
        embedding_size: int,
        hidden_size: int,
        attention: Literal["dot", "additive"],
        input_feeding: bool,
        attention_bias: bool,
        dropout: float = 0.0,
        tied: bool = False,
        product_type: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        """Rate at which callers are to draw the masks they hand in while training."""
        self.hidden_size = hidden_size
        self.input_feeding = input_feeding
        self.source_embedding = nn.Embedding(source_size, embedding_size, padding_idx=PAD)
        self.encoder = nn.LSTM(embedding_size, hidden_size // 2, batch_first=True, bidirectional=True)
        self.target_embedding = nn.Embedding(target_size, embedding_size, padding_idx=PAD)
        decoder_input = embedding_size + (hidden_size if input_feeding else 0)
        self.decoder = nn.LSTM(decoder_input, hidden_size, batch_first=True)
        self.attention = AdditiveAttention(hidden_size) if attention == "additive" else DotAttention()
        self.combine = nn.Linear(2 * hidden_size, hidden_size, bias=attention_bias)
        self.output = OutputLayer(hidden_size, target_size, product_type)
        if tied:  # one table of word vectors: both vocabularies are the same, embeddings as wide as features
            self.target_embedding = self.source_embedding
            self.output.weight = cast(nn.Parameter, self.source_embedding.weight)

    def initialise(
        self, generator: torch.Generator, init_range: float = 0.1, embedding_range: float | None = None
    ) -> None:
        """Draw every parameter from U(-init_range, init_range), word vectors from their own range."""
        with torch.no_grad():
            for parameter in self.parameters():
                drawn = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_((2 * drawn - 1) * init_range)
            for embedding in {self.source_embedding, self.target_embedding}:
                embedding.weight.mul_((embedding_range or init_range) / init_range)

    def encode(self, tokens: Tensor, mask: Tensor) -> Memory:
        """Read tokens [M, S] (mask [M, S], at least one token a row).

        The decoder starts from the final forward and backward states, concatenated.
        """
        lengths = mask.sum(1).cpu()
        packed = pack_padded_sequence(
            self.source_embedding(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        outputs, (hidden, cell) = self.encoder(packed)
        states, _ = pad_packed_sequence(outputs, batch_first=True, total_length=tokens.shape[1])
        return Memory(
            states,
            self.attention.project(states),
            mask,
            torch.cat((hidden[0], hidden[1]), dim=1),
            torch.cat((cell[0], cell[1]), dim=1),
        )

    def features(self, memory: Memory, inputs: Tensor, dropout_mask: Tensor | None = None) -> Tensor:
        """Attention vectors [M, T, H] for inputs [M, T] = bos, y_1, .., y_{T-1}; dropout_mask [M, T, H]."""
        if self.input_feeding:
            state = self.initial_state(memory)
            vectors = []
            for t in range(inputs.shape[1]):
                mask = None if dropout_mask is None else dropout_mask[:, t]
                vector, state = self.step(memory, state, inputs[:, t], mask)
                vectors.append(vector)
            return torch.stack(vectors, dim=1)
        start = (memory.hidden.unsqueeze(0), memory.cell.unsqueeze(0))
        hidden, _ = self.decoder(self.target_embedding(inputs), start)
        return self._attend(memory, hidden, dropout_mask, (inputs != PAD).sum(1))

    def initial_state(self, memory: Memory) -> State:
        """State before the first step."""
        return State(memory.hidden, memory.cell, torch.zeros_like(memory.hidden))

    def step(
        self, memory: Memory, state: State, token: Tensor, dropout_mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """One step: token [M] read last, dropout_mask [M, H]; gives features [M, H] and the next state."""
        embedded = self.target_embedding(token)
        if self.input_feeding:
            embedded = torch.cat((embedded, state.attention), dim=1)
        hidden, cell = torch.lstm_cell(embedded, state[:2], *self.decoder.all_weights[0])
        mask = None if dropout_mask is None else dropout_mask.unsqueeze(1)
        vector = self._attend(memory, hidden.unsqueeze(1), mask).squeeze(1)
        return vector, State(hidden, cell, vector)

    def _attend(
        self, memory: Memory, hidden: Tensor, dropout_mask: Tensor | None, lengths: Tensor | None = None
    ) -> Tensor:
        context = self.attention(hidden, memory.keys, memory.states, memory.mask, lengths)
        vectors = torch.tanh(self.combine(torch.cat((hidden, context), dim=-1)))
        return vectors if dropout_mask is None else vectors * dropout_mask
