"""Which sequences of a sentence are shown: its reference, what the policy decodes, draws of the policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from raysq.algorithms.moment import Moment
from raysq.config import DecodingConfig
from raysq.decoding import beam_search, greedy, sample
from raysq.decoding.sampling import shift_right
from raysq.models import EncoderDecoder
from raysq.types import EOS, PAD, Batch, Samples


@dataclass(frozen=True, slots=True)
class Shown:
    """A sequence that is shown."""

    labels: tuple[str, ...]
    """How it was found: ``reference``, ``sample 2`` .."""
    tokens: tuple[int, ...]
    """Words and eos."""
    forced: bool = False
    """Whether the maximum length left no choice but eos."""


def of_samples(name: str, samples: Samples) -> Iterator[Shown]:
    """Each sequence of ``samples``: ``NAME 1``, ``NAME 2`` .., or ``NAME`` where there is one."""
    parts = zip(samples.targets, samples.mask, samples.forced_eos, strict=True)
    for number, (targets, mask, forced) in enumerate(parts, start=1):
        label = name if len(samples.mask) == 1 else f"{name} {number}"
        yield Shown((label,), tuple(targets[mask].tolist()), bool(forced.any()))


@torch.no_grad()
def of_policy(
    policy: EncoderDecoder, batch: Batch, decoding: DecodingConfig, num_samples: int, moment: Moment
) -> Iterator[Shown]:
    """The best hypothesis of beam search, the greedy one and ``num_samples`` draws for one example (B = 1).

    Without dropout. The draws depend on the policy and on ``moment`` alone.
    """
    memory, T = policy.encode(batch.source, batch.source_mask), decoding.max_length
    beams = beam_search(
        policy,
        memory,
        beam_size=decoding.beam_size,
        max_length=T,
        length_exponent=decoding.length_normalisation,
    )
    best = (*beams[0][0].tokens, EOS)
    yield Shown(("beam search",), best, forced=len(best) == T)
    yield from of_samples("greedy", greedy(policy, memory, T))
    if num_samples:
        uniforms = moment.uniforms("samples", batch, num_samples, T)
        drawn = sample(policy, memory.repeat(num_samples), uniforms, num_per_example=num_samples)
        yield from of_samples("sample", drawn)


def merged(found: Iterable[Shown]) -> list[Shown]:
    """Equal sequences once, under all their labels; in the order in which they were found first."""
    labels: dict[tuple[tuple[int, ...], bool], tuple[str, ...]] = {}
    for one in found:
        key = one.tokens, one.forced
        labels[key] = labels.get(key, ()) + one.labels
    return [Shown(names, *key) for key, names in labels.items()]


def as_samples(sequences: Sequence[Shown], device: str | torch.device) -> Samples:
    """The sequences as the N samples of one example, to be read teacher-forced."""
    rows = [torch.tensor(sequence.tokens, device=device) for sequence in sequences]
    targets = pad_sequence(rows, batch_first=True, padding_value=PAD)
    mask = targets != PAD
    forced_eos = torch.zeros_like(mask)
    for row, sequence in enumerate(sequences):
        forced_eos[row, len(sequence.tokens) - 1] = sequence.forced
    return Samples(shift_right(targets, mask), targets, mask, forced_eos, num_per_example=len(sequences))
