"""The captioner NIC of Vinyals et al. (2015): an LSTM whose first input is an image's feature vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raysq.models.encoder_decoder import EncoderDecoder, OutputLayer, State
from raysq.types import PAD, Memory


class Captioner(EncoderDecoder):
    """x_{-1} = W f + b, x_t = E y_t, features h_t = LSTM(x_t) (Vinyals et al. 2015, Eq. 10-12); no attention.

    The image is read once, before the first word. f is standardised: pooled features are not negative, and
    their common part, as large as what tells images apart, would hold the LSTM's gates open or shut.
    """

    def __init__(
        self,
        mean: Sequence[float],
        deviation: Sequence[float],
        target_size: int,
        *,
        embedding_size: int,
        hidden_size: int,
        dropout: float = 0.0,
        product_type: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.dropout, self.hidden_size, self.input_feeding = dropout, hidden_size, False
        # of the training images, by feature; known from the data, so that checkpoints need not hold them
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation), persistent=False)
        self.image = nn.Linear(len(mean), embedding_size)
        self.target_embedding = nn.Embedding(target_size, embedding_size, padding_idx=PAD)
        self.decoder = nn.LSTM(embedding_size, hidden_size, batch_first=True)
        self.output = OutputLayer(hidden_size, target_size, product_type)

    mean: Tensor
    deviation: Tensor

    def encode(self, source: Tensor, mask: Tensor) -> Memory:
        """Read features [M, 1, F] (mask [M, 1]); nothing but the decoder's first state is left of them."""
        vectors = (source[:, 0].to(self.image.weight.dtype) - self.mean) / self.deviation
        state = vectors.new_zeros(len(source), self.hidden_size)
        hidden, cell = self._advance(self.image(vectors), (state, state))
        nowhere = vectors.new_zeros(len(source), 0, self.hidden_size)
        return Memory(nowhere, nowhere, mask[:, :0], hidden, cell)

    def features(self, memory: Memory, inputs: Tensor, dropout_mask: Tensor | None = None) -> Tensor:
        """Hidden states [M, T, H] after each of the inputs [M, T]; dropout_mask [M, T, H]."""
        start = (memory.hidden.unsqueeze(0), memory.cell.unsqueeze(0))
        hidden, _ = self.decoder(self.target_embedding(inputs), start)
        return hidden if dropout_mask is None else hidden * dropout_mask

    def step(
        self, memory: Memory, state: State, token: Tensor, dropout_mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """One step: token [M] read last, dropout_mask [M, H]; gives features [M, H] and the next state."""
        hidden, cell = self._advance(self.target_embedding(token), (state.hidden, state.cell))
        features = hidden if dropout_mask is None else hidden * dropout_mask
        return features, State(hidden, cell, features)

    def _advance(self, vector: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return torch.lstm_cell(vector, state, *self.decoder.all_weights[0])
