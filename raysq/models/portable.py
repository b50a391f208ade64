"""Encoder and decoder step of a policy as functions of plain tensors, traced by torch.export.

    encoder: source -> memory
    step:    token, memory -> log-probabilities of the next word, the parts of the memory that change

The memory is what the step reads besides the word read last. It is known by name (``Portable.memory``); the
last few of its parts are the decoder's state, which a step gives anew. Batch and source length are free, so
that greedy and beam search can be written around the two in any language that reads the files.

The packed LSTM of the encoder has no counterpart in a graph: its two directions are scans here, which leave
the state of a sequence as it is where its padding lies. The equality of both forms is tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan  # the one loop that export keeps for every source length
from torch.export import Dim, ExportedProgram

from raysq.models.attention import AdditiveAttention, DotAttention
from raysq.models.encoder_decoder import EncoderDecoder
from raysq.models.nic import Captioner
from raysq.models.seq2seq import Seq2Seq
from raysq.types import BOS, EOS, PAD

EXAMPLES = 3
"""Rows of the tensors that are traced; any number may come later."""
POSITIONS = 5
"""Source positions of those, likewise."""


class Portable(NamedTuple):
    """A policy as two functions."""

    encoder: nn.Module
    """Of the source: [B, S] ids with eos, right-padded; of images [B, F] their features."""
    step: nn.Module
    """Of the word read last [B] and the memory: log-probabilities [B, V], then the new state."""
    source: Tensor
    """An example."""
    source_axes: tuple[str, ...]
    """Which of the source's axes are free, by name."""
    memory: dict[str, tuple[str, ...]]
    """What the encoder gives by name, in order, with its free axes."""
    state: tuple[str, ...]
    """Which of it every step gives anew: its last parts."""


def portable(policy: EncoderDecoder) -> Portable:
    """A policy's encoder and step as functions of plain tensors; they share its parameters.

    Raises:
        TypeError: the network is of another class than those there are.
    """
    rows: tuple[str, ...] = ("batch",)
    if isinstance(policy, Captioner):
        features = torch.zeros(EXAMPLES, len(policy.mean))
        memory = {"hidden": rows, "cell": rows}
        return Portable(_ImageEncoder(policy), _ImageStep(policy), features, rows, memory, ("hidden", "cell"))
    if isinstance(policy, Seq2Seq):
        both = ("batch", "length")
        memory = {"states": both, "keys": both, "mask": both, "hidden": rows, "cell": rows, "attention": rows}
        tokens = torch.full((EXAMPLES, POSITIONS), EOS)
        state = ("hidden", "cell", "attention")
        return Portable(_TextEncoder(policy), _TextStep(policy), tokens, both, memory, state)
    raise TypeError(f"{type(policy).__name__} has no portable form")


def traced(policy: EncoderDecoder) -> dict[str, ExportedProgram]:
    """``encoder`` and ``step`` as programs for any batch and source length. The policy lies on the CPU."""
    form = portable(policy)
    axes = {name: Dim(name) for name in ("batch", "length")}

    def free(names: tuple[str, ...]) -> dict[int, Dim]:
        return {axis: axes[name] for axis, name in enumerate(names)}

    with torch.no_grad():
        encoder = torch.export.export(form.encoder, (form.source,), dynamic_shapes=(free(form.source_axes),))
        token = torch.full((EXAMPLES,), BOS)
        step = torch.export.export(
            form.step,
            (token, *form.encoder(form.source)),
            dynamic_shapes=(free(("batch",)), *map(free, form.memory.values())),
        )
    return {"encoder": _bare(encoder), "step": _bare(step)}


def _bare(program: ExportedProgram) -> ExportedProgram:
    """Without the paths of this machine's sources, and without the example, which would be a pickle."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    program.example_inputs = None
    return program


class _TextEncoder(nn.Module):
    """`Seq2Seq.encode` of ids [B, S], whose padding says where a sequence ends."""

    def __init__(self, policy: Seq2Seq) -> None:
        super().__init__()
        self.embedding, self.lstm, self.attention = policy.source_embedding, policy.encoder, policy.attention

    def forward(self, source: Tensor) -> tuple[Tensor, ...]:
        mask = source != PAD
        vectors, real = self.embedding(source).transpose(0, 1), mask.t().unsqueeze(2)
        forward, backward = (
            self._read(vectors, real, weights, reverse=reverse)
            for weights, reverse in zip(self.lstm.all_weights, (False, True), strict=True)
        )
        hidden, cell, states = (torch.cat(pair, dim=-1) for pair in zip(forward, backward, strict=True))
        states = (states * real).transpose(0, 1)
        return states, self.attention.project(states), mask, hidden, cell, torch.zeros_like(hidden)

    def _read(
        self, vectors: Tensor, real: Tensor, weights: Sequence[Tensor], *, reverse: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One direction over vectors [S, B, E] (real [S, B, 1]): its last state, and all hidden states."""

        def advance(
            state: tuple[Tensor, Tensor], position: tuple[Tensor, Tensor]
        ) -> tuple[tuple[Tensor, Tensor], Tensor]:
            vector, there = position
            new = torch.lstm_cell(vector, state, *weights)
            hidden, cell = (torch.where(there, n, s) for n, s in zip(new, state, strict=True))
            return (hidden, cell), hidden.clone()  # a scan's outputs must not be one tensor

        start = vectors.new_zeros(vectors.shape[1], self.lstm.hidden_size)
        (hidden, cell), states = scan(advance, (start, start.clone()), (vectors, real), reverse=reverse)
        return hidden, cell, states


class _TextStep(nn.Module):
    """`Seq2Seq.step` and the output layer's log-probabilities."""

    def __init__(self, policy: Seq2Seq) -> None:
        super().__init__()
        self.embedding, self.lstm, self.attention = policy.target_embedding, policy.decoder, policy.attention
        self.combine, self.output, self.input_feeding = policy.combine, policy.output, policy.input_feeding

    def forward(
        self,
        token: Tensor,
        states: Tensor,
        keys: Tensor,
        mask: Tensor,
        hidden: Tensor,
        cell: Tensor,
        attention: Tensor,
    ) -> tuple[Tensor, ...]:
        vector = self.embedding(token)
        if self.input_feeding:
            vector = torch.cat((vector, attention), dim=1)
        hidden, cell = torch.lstm_cell(vector, (hidden, cell), *self.lstm.all_weights[0])
        scores = self._scores(hidden.unsqueeze(1), keys).masked_fill(~mask, float("-inf"))
        context = torch.bmm(scores.softmax(dim=1).unsqueeze(1), states).squeeze(1)
        attention = torch.tanh(self.combine(torch.cat((hidden, context), dim=1)))
        return self.output.logits(attention).log_softmax(dim=1), hidden, cell, attention

    def _scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """[B, S] of a query [B, 1, H] and keys [B, S, H]."""
        if isinstance(self.attention, AdditiveAttention):  # its own form goes by pairs and lengths
            pairs = torch.tanh(self.attention.query(query) + keys)
            return self.attention.score(pairs).squeeze(2)
        assert isinstance(self.attention, DotAttention)
        return torch.bmm(keys, query.transpose(1, 2)).squeeze(2)


class _ImageEncoder(nn.Module):
    """`Captioner.encode` of features [B, F]."""

    def __init__(self, policy: Captioner) -> None:
        super().__init__()
        self.image, self.lstm = policy.image, policy.decoder
        self.register_buffer("mean", policy.mean)
        self.register_buffer("deviation", policy.deviation)

    mean: Tensor
    deviation: Tensor

    def forward(self, source: Tensor) -> tuple[Tensor, ...]:
        vectors = self.image((source - self.mean) / self.deviation)
        start = vectors.new_zeros(vectors.shape[0], self.lstm.hidden_size)
        return torch.lstm_cell(vectors, (start, start), *self.lstm.all_weights[0])


class _ImageStep(nn.Module):
    """`Captioner.step` and the output layer's log-probabilities."""

    def __init__(self, policy: Captioner) -> None:
        super().__init__()
        self.embedding, self.lstm, self.output = policy.target_embedding, policy.decoder, policy.output

    def forward(self, token: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
        hidden, cell = torch.lstm_cell(self.embedding(token), (hidden, cell), *self.lstm.all_weights[0])
        return self.output.logits(hidden).log_softmax(dim=1), hidden, cell
