"""A network of your own: a small Transformer as the policy; critics stay as they are.

python workflows/examples/own_network.py --task demo --network.num-layers 2
"""

import sys

import torch
from pydantic import Field
from torch import Tensor, nn

from raysq.algorithms import Mle
from raysq.models import EncoderDecoder, OutputLayer, OwnNetwork, Rereading
from raysq.recipe import Recipe, Stage
from raysq.types import Memory
from raysq.workflow import main


class Transformer(Rereading):
    """4 heads, learned positions, at most 200."""

    def __init__(self, sizes: tuple[int, int], width: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.hidden_size, self.input_feeding, self.dropout = width, False, dropout
        self.source_embedding, self.target_embedding = (nn.Embedding(size, width) for size in sizes)
        self.positions, self.output = nn.Embedding(200, width), OutputLayer(width, sizes[1])
        self.layers = nn.Transformer(width, 4, num_layers, num_layers, 2 * width, 0.0, batch_first=True)

    def encode(self, source: Tensor, mask: Tensor) -> Memory:
        """States [M, S, H] of tokens [M, S]; a decoder's first state (the last two) is not used."""
        read = self.source_embedding(source) + self.positions.weight[: source.shape[1]]
        states = self.layers.encoder(read, src_key_padding_mask=~mask)
        return Memory(states, states, mask, states[:, 0], states[:, 0])

    def features(self, memory: Memory, inputs: Tensor, dropout_mask: Tensor | None = None) -> Tensor:
        """[M, T, H], each from the inputs [M, T] up to its own."""
        read = self.target_embedding(inputs) + self.positions.weight[: inputs.shape[1]]
        later = torch.ones(inputs.shape[1:] * 2, dtype=torch.bool, device=inputs.device).triu(1)
        made = self.layers.decoder(read, memory.states, later, memory_key_padding_mask=~memory.mask)
        return made if dropout_mask is None else made * dropout_mask


class TransformerSettings(OwnNetwork):
    """A Transformer of hidden_size units."""

    num_layers: int = Field(2, ge=1)
    """Layers of the encoder, and of the decoder."""

    def policy(self, source_size: int, target_size: int) -> EncoderDecoder:
        """The network."""
        return Transformer((source_size, target_size), self.hidden_size, self.num_layers, self.dropout)


RECIPE = Recipe("transformer", stages=(Stage("mle", Mle(optimizer="adam")),), network=TransformerSettings())

if __name__ == "__main__":
    from own_network import RECIPE as IMPORTED  # type: ignore[import-not-found]  # as Ray finds it

    sys.exit(main(IMPORTED, __doc__))
