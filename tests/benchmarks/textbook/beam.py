"""Beam search as a textbook writes it: all beams of all sources are kept until every source is done."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from raysq.decoding import Hypothesis
from raysq.models import Seq2Seq
from raysq.types import BOS, EOS, Memory
from tests.benchmarks.textbook.network import policy_logits, step


@torch.no_grad()
def beam_search(
    policy: Seq2Seq,
    memory: Memory,
    *,
    beam_size: int = 5,
    max_length: int = 100,
    length_exponent: float = 0.0,
    num_best: int = 1,
) -> list[list[Hypothesis]]:
    """The ``num_best`` best hypotheses of each of the B sources, best first.

    Rule and arguments are those of ``raysq.decoding.beam_search``.
    """
    B, k, device = len(memory.mask), beam_size, memory.mask.device
    V = policy.output.weight.shape[0]
    memory = memory.repeat(k)
    state = (memory.hidden, memory.cell)
    scores = torch.full((B, k), float("-inf"), device=device, dtype=memory.states.dtype)
    scores[:, 0] = 0.0  # at first there is one beam
    tokens = torch.full((B * k, 1), BOS, device=device)
    first_of_source = k * torch.arange(B, device=device).unsqueeze(1)
    finished: list[list[Hypothesis]] = [[] for _ in range(B)]
    done = [False] * B
    for t in range(max_length):
        vectors, state = step(policy, memory, state, tokens[:, -1])
        log_probs = F.log_softmax(policy_logits(policy, vectors), dim=1)
        totals = scores.unsqueeze(2) + log_probs.view(B, k, V)
        ending = totals[:, :, EOS].clone()
        totals[:, :, : EOS + 1] = float("-inf")
        scores, chosen = totals.view(B, k * V).topk(k, dim=1)
        threshold = scores[:, -1:] if t < max_length - 1 else torch.full_like(scores[:, :1], float("-inf"))
        _collect(finished, done, tokens.view(B, k, -1), ending, threshold, length_exponent)
        for i, best in enumerate(scores[:, 0].tolist()):
            of_source = finished[i] = sorted(finished[i], key=lambda h: -h.score)[:num_best]
            bound = best / max_length**length_exponent
            done[i] = len(of_source) == num_best and bound <= of_source[-1].score
        if all(done):
            break
        rows = (first_of_source + chosen // V).flatten()
        state = (state[0][rows], state[1][rows])
        tokens = torch.cat((tokens[rows], (chosen % V).view(-1, 1)), dim=1)
    return finished


def _collect(
    finished: list[list[Hypothesis]],
    done: list[bool],
    tokens: Tensor,
    ending: Tensor,
    threshold: Tensor,
    length_exponent: float,
) -> None:
    """Add the endings [B, k] that rank among the best, of sources that are not done.

    The beams' tokens [B, k, t] are bos and t - 1 words.
    """
    length = tokens.shape[2]
    for i, beam in ((ending >= threshold) & ending.isfinite()).nonzero().tolist():
        if not done[i]:  # nothing more would get into its best
            score = float(ending[i, beam]) / length**length_exponent
            finished[i].append(Hypothesis(tokens[i, beam, 1:].tolist(), score))
