"""What every network of raysq is: an encoder of something, an LSTM decoder, an output layer apart from both.

The output layer is apart from the features, so that losses can apply it chunk by chunk
(raysq.losses.vocabulary).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from raysq.config import NetworkConfig
from raysq.models.products import fill_product
from raysq.types import FIRST_ACTION, Memory


class State(NamedTuple):
    """State of the decoder between two steps."""

    hidden: Tensor
    """[M, H]"""
    cell: Tensor
    """[M, H]"""
    attention: Tensor
    """[M, H] previous features (read only with input feeding)."""

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


class EncoderDecoder(nn.Module, ABC):
    """A policy or a critic, whatever it reads.

    ``features`` (a whole sequence, teacher-forced) and ``step`` (one token) are the same function of the
    same parameters. Dropout acts on the features only, through masks handed in by the caller: so a second
    pass over a sample can use the masks of the pass that drew it.
    """

    dropout: float
    """Rate at which callers are to draw the masks they hand in while training."""
    hidden_size: int
    input_feeding: bool
    """Whether the features of a step are an input of the next."""
    target_embedding: nn.Embedding
    decoder: nn.LSTM
    output: OutputLayer

    def initialise(
        self, generator: torch.Generator, init_range: float = 0.1, embedding_range: float | None = None
    ) -> None:
        """Draw every parameter from U(-init_range, init_range), word vectors from their own range.

        Norms of layers, which raysq's own networks have none of, begin as the identity.
        """
        with torch.no_grad():
            for parameter in self.parameters():
                drawn = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_((2 * drawn - 1) * init_range)
            for embedding in {part for part in self.modules() if isinstance(part, nn.Embedding)}:
                embedding.weight.mul_((embedding_range or init_range) / init_range)
            for norm in (part for part in self.modules() if isinstance(part, nn.LayerNorm)):
                norm.reset_parameters()

    @abstractmethod
    def encode(self, source: Tensor, mask: Tensor) -> Memory:
        """Read a source: what it is, and its shape [M, S] or [M, S, F], depends on the network."""

    @abstractmethod
    def features(self, memory: Memory, inputs: Tensor, dropout_mask: Tensor | None = None) -> Tensor:
        """Features [M, T, H] for inputs [M, T] = bos, y_1, .., y_{T-1}; dropout_mask [M, T, H]."""

    def initial_state(self, memory: Memory) -> State:
        """State before the first step."""
        return State(memory.hidden, memory.cell, torch.zeros_like(memory.hidden))

    @abstractmethod
    def step(
        self, memory: Memory, state: State, token: Tensor, dropout_mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """One step: token [M] read last, dropout_mask [M, H]; gives features [M, H] and the next state."""


class Rereading(EncoderDecoder):
    """A network whose step reads the whole prefix again: ``encode`` and ``features`` are all it defines.

    ``features`` at a position must depend on the inputs up to it alone. T steps cost as T^2 positions.
    """

    def initial_state(self, memory: Memory) -> State:
        """Before the first step; ``attention`` is in the place of the tokens read [M, t] int64."""
        nothing = memory.mask.new_empty(len(memory.mask), 0, dtype=torch.long)
        return State(memory.hidden, memory.cell, nothing)

    def step(
        self, memory: Memory, state: State, token: Tensor, dropout_mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """One step: token [M] read last, dropout_mask [M, H]; gives features [M, H] and the next state."""
        read = torch.cat((state.attention, token.unsqueeze(1)), dim=1)
        vector = self.features(memory, read)[:, -1]
        return vector if dropout_mask is None else vector * dropout_mask, state._replace(attention=read)


class OwnNetwork(NetworkConfig):
    """Base of the settings of a policy that a user's file defines; critics stay those of `NetworkConfig`.

    Fields are added as to any settings. A recipe has it as ``network``.
    """

    @abstractmethod
    def policy(self, source_size: int, target_size: int) -> EncoderDecoder:
        """The network, for vocabularies of so many words, without values: ``initialise`` gives them."""
