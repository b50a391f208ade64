"""Beam search over a batch of sources, finished sources dropped as they end."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from raysq.models import Seq2Seq
from raysq.types import BOS, EOS, Memory


class Hypothesis(NamedTuple):
    """A decoded sequence."""

    tokens: list[int]
    """Words, eos left out."""
    score: float
    """Sum of log-probabilities with eos, divided by length ** length_exponent (length with eos)."""


class _Finished:
    """The best finished hypotheses of one source."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.hypotheses: list[Hypothesis] = []

    def add(self, hypothesis: Hypothesis) -> None:
        self.hypotheses.append(hypothesis)
        self.hypotheses.sort(key=lambda h: -h.score)
        del self.hypotheses[self.size :]

    def worst(self) -> float:
        """Score a new hypothesis must beat to be kept."""
        return self.hypotheses[-1].score if len(self.hypotheses) == self.size else float("-inf")


@torch.no_grad()
def beam_search(
    policy: Seq2Seq,
    memory: Memory,
    *,
    beam_size: int = 5,
    max_length: int = 100,
    length_exponent: float = 0.0,
    num_best: int = 1,
    temperature: float = 1.0,
) -> list[list[Hypothesis]]:
    """The ``num_best`` best hypotheses of each of the B sources, best first.

    At each step the ``beam_size`` likeliest continuations of a source that do not end stay in its beam, and
    those that end and are at least as likely as the last of these are finished. A source is done when
    nothing in its beam can still enter its ``num_best``: exact, because log-probabilities only fall (with a
    length exponent the bound is the score at ``max_length``).

    Args:
        policy: the network.
        memory: B encoded sources.
        beam_size: 1 is greedy search.
        max_length: steps, eos counted; eos is forced at the last.
        length_exponent: 0 is no normalisation (published setting).
        num_best: hypotheses returned for a source, at most ``beam_size``.
        temperature: the network's outputs are divided by it before the softmax (tau, for a soft-Q oracle).
    """
    B = memory.states.shape[0]
    k, device = beam_size, memory.states.device
    results = [_Finished(num_best) for _ in range(B)]
    sources = list(range(B))
    state = policy.initial_state(memory)
    token = torch.full((B,), BOS, dtype=torch.long, device=device)
    scores = torch.zeros(B, 1, device=device, dtype=state.hidden.dtype)
    history = torch.empty(B, 1, 0, dtype=torch.long, device=device)
    readout = policy.output.readout(exact=True)
    for t in range(max_length):
        features, state = policy.step(memory, state, token)
        logits = readout.logits(features)
        if temperature != 1:
            logits /= temperature
        log_normaliser = logits.logsumexp(1, keepdim=True)
        width = scores.shape[1]
        ending = scores + (logits[:, EOS : EOS + 1] - log_normaliser).view(-1, width)
        logits[:, : EOS + 1] = float("-inf")  # what does not end goes on with a word: no pad, no bos
        best, words = logits.topk(min(k, logits.shape[1]), dim=1)
        going = scores.unsqueeze(2) + (best - log_normaliser).view(len(sources), width, -1)
        scores, chosen = going.flatten(1).topk(min(k, going[0].numel()), dim=1)
        threshold = scores[:, -1:] if t < max_length - 1 else torch.full_like(scores[:, :1], float("-inf"))
        _finish(results, sources, history, ending, threshold, length_exponent, t + 1)

        beams = chosen // best.shape[1]
        words = words.view(len(sources), -1).gather(1, chosen)
        length = max_length if length_exponent else 1
        bound = (scores[:, 0] / length**length_exponent).tolist()
        kept = [i for i, s in enumerate(sources) if bound[i] > results[s].worst()]
        if not kept or t == max_length - 1:
            break
        keep = torch.tensor(kept, device=device)
        rows = (beams[keep] + keep.unsqueeze(1) * width).flatten()
        if len(kept) < len(sources) or beams.shape[1] != width:  # a source's beams share their memory
            memory = memory.select(rows)
        state, token = state.select(rows), words[keep].flatten()
        previous = history.flatten(0, 1)[rows].view(*words[keep].shape, t)
        history = torch.cat((previous, words[keep].unsqueeze(2)), dim=2)
        scores, sources = scores[keep], [sources[i] for i in kept]
    return [result.hypotheses for result in results]


def _finish(
    results: list[_Finished],
    sources: list[int],
    history: Tensor,
    ending: Tensor,
    threshold: Tensor,
    length_exponent: float,
    length: int,
) -> None:
    """Record the endings [B, k] that rank among the beam's best (at least the threshold [B, 1])."""
    for i, beam in (ending >= threshold).nonzero().tolist():
        score = float(ending[i, beam]) / length**length_exponent
        if score > results[sources[i]].worst():
            results[sources[i]].add(Hypothesis(history[i, beam].tolist(), score))
