"""Beam search over a batch of sources, finished sources dropped as they end."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from raysq import kernels
from raysq.models import EncoderDecoder
from raysq.models.products import rows_at_once, slices
from raysq.types import BOS, EOS, Memory

STRETCH = 64
"""Words of which the maximum is taken before the search looks at each of them."""


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
    policy: EncoderDecoder,
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
        end, best, words = _continuations(logits, k)
        width = scores.shape[1]
        ending = scores + end.view(-1, width)
        going = scores.unsqueeze(2) + best.view(len(sources), width, -1)
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


def _continuations(logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row of logits [n, V]: log pi of eos [n]; log pi and ids [n, k] of the k likeliest words."""
    parts = []
    n, V = logits.shape
    for rows in slices(0, n, rows_at_once(V, n, logits.device)):
        here = logits[rows]
        end = here[:, EOS].clone()
        here[:, : EOS + 1] = float("-inf")  # what does not end goes on with a word: no pad, no bos
        best, words = _largest(here, min(k, V))
        log_normaliser = torch.logaddexp(_log_totals(here), end)
        parts.append((end - log_normaliser, best - log_normaliser.unsqueeze(1), words))
    end, best, words = (torch.cat(part) for part in zip(*parts, strict=True))
    return end, best, words


def _log_totals(logits: Tensor) -> Tensor:
    """log sum_w exp(logit_w) [n] of logits [n, V]."""
    if not kernels.compiled(logits):
        return logits.logsumexp(1)
    totals = torch.empty_like(logits[:, 0])
    kernels.log_totals_rows(kernels.array(logits), kernels.array(totals))
    return totals


def _largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row [n, V] and their places, largest first.

    They lie in the k stretches whose maxima are largest, or in the rest that fills no stretch: to look there
    takes one quick pass over the row, where ``topk`` takes a slow one.
    """
    count = values.shape[1] // STRETCH
    whole = count * STRETCH
    if count <= k:
        found = values.topk(k, dim=1)
        return found.values, found.indices
    maxima = values[:, :whole].unflatten(1, (count, STRETCH)).amax(2)
    stretches = maxima.topk(k, dim=1).indices.unsqueeze(2) * STRETCH
    inside = (stretches + torch.arange(STRETCH, device=values.device)).flatten(1)
    rest = torch.arange(whole, values.shape[1], device=values.device).expand(len(values), -1)
    places = torch.cat((inside, rest), dim=1)
    found = values.gather(1, places).topk(k, dim=1)
    return found.values, places.gather(1, found.indices)


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
