"""Suite ``decoding``: beam search and ancestral sampling of a batch of sources, against their textbook forms.

The policy is not trained but built: its words are as likely as a trained policy's (a few share most of the
probability), and it counts, so that a sequence ends about as many tokens after its begin as its source has.
Both forms start from the same encoded sources; beam search has to give equal hypotheses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from raysq.decoding import Hypothesis, beam_search, sample
from raysq.models import Seq2Seq
from raysq.types import EOS, Memory, Samples
from tests.benchmarks import textbook
from tests.benchmarks.inputs import random_batch
from tests.benchmarks.measure import compare, peak_memory
from tests.benchmarks.rows import Form, Row, timed_row
from tests.benchmarks.settings import BenchmarkSettings

SUITE = "decoding"
BEAM_SIZE = 5
STEP = 0.1
"""What the counting unit's cell gains with a token of the source, and loses with one of the sequence."""
SLOPE = 2.0
"""Of the counter in the attention vector."""
EOS_LOGIT = 40.0
"""By how much the logit of eos rises while the count falls from far above 0 to 0."""
OPEN = 10.0
"""Bias of a gate that is to stay open."""
LOGIT_SCALE = 6.5
"""Standard deviation of the logits of words."""


def run(settings: BenchmarkSettings) -> list[Row]:
    """A row for each decoder and size, of sampling for each precision; beam search keeps to float32."""
    rows = []
    for vocabulary_size in settings.vocabulary or (22_822,):
        for hidden_size in settings.hidden or (256,):
            policy = counting_policy(vocabulary_size, hidden_size).to(settings.device)
            generator = np.random.default_rng(1)
            batch = random_batch(generator, vocabulary_size, settings.batch_size, settings.length)
            batch = batch.to(settings.device)
            with torch.no_grad():
                memory = policy.encode(batch.source, batch.source_mask)
            longest = batch.source.shape[1] + 10
            rows.append(searched(settings, policy, memory))
            rows += [sampled(settings, policy, memory, longest, name) for name in settings.precisions]
    return rows


def searched(settings: BenchmarkSettings, policy: Seq2Seq, memory: Memory) -> Row:
    """Beam search."""

    def ours() -> list[list[Hypothesis]]:
        return beam_search(policy, memory, beam_size=BEAM_SIZE)

    def theirs() -> list[list[Hypothesis]]:
        return textbook.beam_search(policy, memory, beam_size=BEAM_SIZE)

    found = ours()
    require_equal(found, theirs())
    num_tokens = sum(len(best.tokens) + 1 for best, *_ in found)
    return compared_row(settings, policy, f"beam_search_{BEAM_SIZE}", ours, theirs, num_tokens, len(found))


def sampled(
    settings: BenchmarkSettings, policy: Seq2Seq, memory: Memory, longest: int, precision: str
) -> Row:
    """Ancestral sampling, without dropout; the textbook's products are in float32."""
    num_sequences = len(memory.mask)
    uniforms = torch.rand(num_sequences, longest, generator=torch.Generator().manual_seed(1))
    uniforms = uniforms.to(settings.device)

    product_type = torch.bfloat16 if precision == "bfloat16" else None

    def ours() -> Samples:
        policy.output.product_type = product_type
        return sample(policy, memory, uniforms)

    def theirs() -> Samples:
        return textbook.sample(policy, memory, longest)

    num_tokens = int(ours().mask.sum())
    return compared_row(
        settings, policy, "sampling", ours, theirs, num_tokens, num_sequences, precision=precision
    )


def compared_row(
    settings: BenchmarkSettings,
    policy: Seq2Seq,
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    num_tokens: int,
    num_sequences: int,
    precision: str = "float32",
) -> Row:
    """Time and memory of a decoder and of its textbook form; the tokens are ours."""
    baseline = f"textbook_{name}"
    times = compare({name: ours, baseline: theirs}, settings.repeats)
    seconds = times[name].spread(1.0).median
    vocabulary_size, hidden_size = policy.output.weight.shape
    return timed_row(
        settings,
        SUITE,
        Form(name, times[name], peak_memory=peak_memory(ours, settings.device)),
        Form(baseline, times[baseline], peak_memory=peak_memory(theirs, settings.device)),
        unit="ms per batch",
        precision=precision,
        vocabulary=vocabulary_size,
        hidden=hidden_size,
        numbers={
            "sentences_per_second": num_sequences / seconds,
            "tokens_per_second": num_tokens / seconds,
            "mean_length_tokens": num_tokens / num_sequences,
        },
    )


def require_equal(ours: Sequence[Sequence[Hypothesis]], theirs: Sequence[Sequence[Hypothesis]]) -> None:
    """Raise AssertionError where the best hypotheses of two decoders differ, in words or beyond rounding."""
    for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        assert [h.tokens for h in mine] == [h.tokens for h in other], f"other hypotheses of sentence {i}"
        for a, b in zip(mine, other, strict=True):
            assert math.isclose(a.score, b.score, rel_tol=1e-4, abs_tol=1e-3), f"other scores of sentence {i}"


def counting_policy(vocabulary_size: int, hidden_size: int) -> Seq2Seq:
    """A policy with dot attention whose sequences are about as long as their sources.

    Its first unit counts: up while the encoder reads, down while the decoder writes. The logit of eos depends
    on that count alone; at 0 it is about that of the likeliest word.
    """
    policy = Seq2Seq(
        vocabulary_size,
        vocabulary_size,
        embedding_size=hidden_size,
        hidden_size=hidden_size,
        attention="dot",
        input_feeding=False,
        attention_bias=False,
    )
    # attention vectors saturate at these weights, so that logits have the deviation wanted
    policy.initialise(torch.Generator().manual_seed(1), init_range=LOGIT_SCALE * math.sqrt(3 / hidden_size))
    with torch.no_grad():
        _let_unit_count(policy.encoder, STEP)
        _let_unit_count(policy.decoder, -STEP)
        _clear(policy.combine.weight[0], SLOPE)
        _clear(policy.output.weight[EOS], -EOS_LOGIT)
        policy.output.bias[EOS] = LOGIT_SCALE * math.sqrt(2 * math.log(vocabulary_size))
    return policy.requires_grad_(False)


def _let_unit_count(lstm: nn.LSTM, step: float) -> None:
    """The cell of the first unit (of the forward direction) gains ``step`` with every token."""
    input_weight, hidden_weight, input_bias, hidden_bias = lstm.all_weights[0]
    gates = slice(0, None, lstm.hidden_size)  # of the first unit: input, forget, candidate, output
    input_weight[gates] = 0.0
    hidden_weight[gates] = 0.0
    hidden_bias[gates] = 0.0
    input_bias[gates] = torch.tensor([OPEN, OPEN, math.atanh(step), OPEN])


def _clear(row: Tensor, first: float) -> None:
    """Leave nothing in a row but its first entry."""
    row.zero_()
    row[0] = first
