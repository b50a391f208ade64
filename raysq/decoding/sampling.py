"""Sampling by inverse CDF: one uniform number a token, finished rows dropped as they end.

Tokens come from the policy alone (ancestral sampling) unless a ``Choice`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from raysq import kernels
from raysq.kernels import STRETCH
from raysq.models import EncoderDecoder
from raysq.types import BOS, EOS, PAD, Memory, Samples

Choice: TypeAlias = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Called at every step with the rows [K] that go on, their prefixes [K, t] and the policy's features [K, H];
gives their next tokens [K] and the log-probabilities [K] under which these were drawn (0: not drawn)."""


@torch.no_grad()
def sample(
    policy: EncoderDecoder,
    memory: Memory,
    uniforms: Tensor,
    *,
    num_per_example: int = 1,
    dropout_mask: Tensor | None = None,
    choice: Choice | None = None,
) -> Samples:
    """Draw one sequence per row of ``memory``.

    Args:
        policy: the network.
        memory: M encoded sources (already repeated N times each).
        uniforms: [M, T] numbers in [0, 1): row m, step t decides y_t, so a draw depends on nothing else. T is
            the maximum length with eos: the token at T is eos, forced.
        num_per_example: N, recorded in the samples.
        dropout_mask: [M, T, H] scaled masks of this pass, recorded too.
        choice: chooses tokens in place of the policy.

    Returns:
        Samples with T cut to the longest sequence.
    """
    M, T = uniforms.shape
    choose = choice or ancestral(policy, uniforms)
    targets = torch.full((M, T), PAD, dtype=torch.long, device=uniforms.device)
    log_probs = torch.zeros(M, T, dtype=memory.hidden.dtype, device=uniforms.device)
    state = policy.initial_state(memory)
    token = torch.full((M,), BOS, dtype=torch.long, device=uniforms.device)
    alive = torch.arange(M, device=uniforms.device)
    for t in range(T - 1):
        masks = None if dropout_mask is None else dropout_mask[alive, t]
        features, state = policy.step(memory, state, token, masks)
        token, log_prob = choose(alive, targets[alive, :t], features)
        targets[alive, t] = token
        log_probs[alive, t] = log_prob
        going = (token != EOS).nonzero().squeeze(1)
        if len(going) < len(alive):
            alive, token = alive[going], token[going]
            memory, state = memory.select(going), state.select(going)
        if not len(alive):
            break
    targets[alive, T - 1] = EOS
    longest = int((targets != PAD).sum(1).max()) if M else 0
    targets = targets[:, :longest]
    mask = targets != PAD
    forced_eos = torch.zeros_like(mask)
    if longest == T:
        forced_eos[alive, T - 1] = True
    return Samples(
        inputs=shift_right(targets, mask),
        targets=targets,
        mask=mask,
        forced_eos=forced_eos,
        num_per_example=num_per_example,
        dropout_mask=None if dropout_mask is None else dropout_mask[:, :longest],
        log_probs=log_probs[:, :longest],
    )


def ancestral(policy: EncoderDecoder, uniforms: Tensor, temperature: float = 1.0) -> Choice:
    """The policy's own choice: y_t ~ softmax(logits / temperature), by uniforms [M, T]."""

    readout = policy.output.readout(exact=False)

    def choose(alive: Tensor, prefixes: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        logits = readout.logits(features)
        if temperature != 1:
            logits /= temperature
        return inverse_cdf(logits, uniforms[alive, prefixes.shape[1]])

    return choose


def greedy(policy: EncoderDecoder, memory: Memory, max_length: int) -> Samples:
    """The likeliest token at every step, one sequence per row of ``memory``; no log-probabilities."""
    M = memory.hidden.shape[0]
    nothing = torch.empty(M, max_length, device=memory.hidden.device)

    readout = policy.output.readout(exact=False)

    def choose(alive: Tensor, prefixes: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        token = readout.logits(features).argmax(1)
        return token, torch.zeros_like(token, dtype=features.dtype)

    return sample(policy, memory, nothing, choice=choose)


def inverse_cdf(logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """One draw a row from softmax(logits) [M, V] by uniforms [M]: the first word whose CDF exceeds u.

    The uniform is scaled by the row's own total, so rounding of the sum cannot bias the last word; a word
    of probability 0 is never drawn. First the stretch of words is found that holds the draw, then the word in
    it: a running sum over all words would cost more than their exponentials.

    Returns:
        The words [M] and their log-probabilities [M].
    """
    if kernels.compiled(logits, uniforms):
        words, log_probs = torch.empty_like(uniforms, dtype=torch.long), torch.empty_like(logits[:, 0])
        kernels.draw_rows(*map(kernels.array, (logits, uniforms, words, log_probs)))
        return words, log_probs
    highest = logits.amax(1, keepdim=True)
    words, totals = _draw(torch.sub(logits, highest).exp_(), uniforms)
    log_probs = logits.gather(1, words.unsqueeze(1)) - highest
    return words, log_probs.squeeze(1) - totals.log()


def _draw(masses: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """A word of each row by its share of the masses [m, V] (not all of them 0); and the rows' totals."""
    V = masses.shape[1]
    count = V // STRETCH
    whole = count * STRETCH
    stretches = masses[:, :whole].unflatten(1, (count, STRETCH)).sum(2)
    if whole < V:
        stretches = torch.cat((stretches, masses[:, whole:].sum(1, keepdim=True)), dim=1)
    cdf = stretches.cumsum(1)
    threshold = (uniforms * cdf[:, -1]).unsqueeze(1)
    stretch = torch.searchsorted(cdf, threshold, right=True).clamp_(max=cdf.shape[1] - 1)
    before = (cdf - stretches).gather(1, stretch)
    words = stretch * STRETCH + torch.arange(STRETCH, device=masses.device)
    inside = masses.gather(1, words.clamp(max=V - 1)).masked_fill_(words >= V, 0.0).cumsum_(1)
    # the two sums round differently: the draw stays within the stretch's own, so that it finds a word there
    below = torch.nextafter(inside[:, -1:], torch.zeros_like(threshold))
    within = (threshold - before).clamp_(min=0).minimum(below)
    place = torch.searchsorted(inside, within, right=True)
    return (stretch * STRETCH + place).squeeze(1), cdf[:, -1]


def shift_right(targets: Tensor, mask: Tensor) -> Tensor:
    """Decoder inputs bos, y_1, .., y_{T-1} [M, T] of targets [M, T]; padding stays pad."""
    bos = torch.full_like(targets[:, :1], BOS)
    return torch.cat((bos, targets[:, :-1]), dim=1).masked_fill(~mask, PAD)
