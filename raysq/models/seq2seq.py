"""The recurrent sequence-to-sequence network of Dai, Xie, Hovy (2018), which serves as policy and as critic.

A policy reads the source and its output layer gives logits; a critic reads the reference (bos .. eos) and
its output layer gives one raw Q per word.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from raysq.models.attention import AdditiveAttention, DotAttention
from raysq.models.encoder_decoder import EncoderDecoder, OutputLayer, State
from raysq.types import PAD, Memory


class Seq2Seq(EncoderDecoder):
    """Bi-LSTM encoder, LSTM decoder with attention, attention vector a_t = tanh(W [h_t; c_t])."""

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
        self.dropout, self.hidden_size, self.input_feeding = dropout, hidden_size, input_feeding
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
