"""Suite ``updates``: whole updates against their textbook forms, and the vocabulary's part of them alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from raysq.losses import Head, RowLoss, actor_critic, cross_entropy, vocabulary_loss
from raysq.types import UNK
from tests.benchmarks.measure import Times, compare, peak_memory
from tests.benchmarks.problem import TYPES, UPDATES, Problem
from tests.benchmarks.rows import Form, Row, timed_row
from tests.benchmarks.settings import BenchmarkSettings

PHASES = ("sample", "features", "vocabulary", "backward", "optimizer")
"""As ``Step`` records them; what is left is rewards, losses by row and bookkeeping."""


def run(settings: BenchmarkSettings, suite: str = "updates") -> list[Row]:
    """A row for each update, size and precision; and for the vocabulary's part of two of them."""
    rows: list[Row] = []
    for vocabulary in settings.vocabulary or (22_822,):
        for hidden in settings.hidden or (256,):
            for measured in UPDATES:
                rows += _update_rows(settings, suite, Problem(settings, measured, vocabulary, hidden))
            rows += _vocabulary_rows(settings, suite, vocabulary, hidden)
    return rows


def _update_rows(settings: BenchmarkSettings, suite: str, problem: Problem) -> Iterator[Row]:
    """An update in each precision; they and the textbook form run in turn."""
    ours = {precision: problem.ours(precision) for precision in settings.precisions}
    textbook_update, theirs = problem.textbook()
    baseline = f"textbook_{problem.name}"
    times = compare({**ours, baseline: theirs}, settings.repeats)
    their_form = Form(baseline, times[baseline], peak_memory=peak_memory(theirs, settings.device))
    their_rate = _rate(_flop(theirs), times[baseline])
    assert textbook_update.samples is not None
    mask = textbook_update.samples.mask
    for precision, update in ours.items():
        seconds = times[precision].spread().median
        yield timed_row(
            settings,
            suite,
            Form(problem.name, times[precision], peak_memory=peak_memory(update, settings.device)),
            their_form,
            precision=precision,
            vocabulary=problem.vocabulary,
            hidden=problem.hidden,
            numbers={
                "updates_per_second": 1 / seconds,
                "valid_tokens": float(mask.sum()),
                "padded_tokens": float(mask.numel()),
                "valid_tokens_per_second": float(mask.sum()) / seconds,
                "gflops": _rate(_flop(update), times[precision]),
                "baseline_gflops": their_rate,
                **{f"{name}_share": share for name, share in _phases(update).items()},
            },
        )


def _flop(update: Callable[[], object]) -> float:
    """Operations in the products of an update, those inside LSTM kernels not counted."""
    with FlopCounterMode(display=False) as counter:
        update()
    return float(counter.get_total_flops())


def _phases(update: Callable[[], object]) -> Mapping[str, float]:
    """Share of an update's time in each phase."""
    on_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler, record_function("update"):
        update()
    took = {event.key: event.cpu_time_total for event in profiler.key_averages()}
    return {phase: took.get(phase, 0.0) / took["update"] for phase in PHASES}


def _vocabulary_rows(settings: BenchmarkSettings, suite: str, vocabulary: int, hidden: int) -> Iterator[Row]:
    """The executor of row losses against nothing but its products, each whole, into memory that is there."""
    n = settings.batch_size * settings.length
    generator = torch.Generator().manual_seed(1)

    def head() -> Head:
        shapes = ((n, hidden), (vocabulary, hidden), (vocabulary,))
        features, weight, bias = (
            (0.3 * torch.randn(shape, generator=generator)).to(settings.device) for shape in shapes
        )
        return Head(features, weight, bias)

    tokens = torch.randint(UNK + 1, vocabulary, (n,), generator=generator).to(settings.device)
    forced = torch.zeros_like(tokens, dtype=torch.bool)
    heads = [head() for _ in range(3)]
    for part in heads[0][:3]:
        part.requires_grad_()
    losses: dict[str, tuple[RowLoss, tuple[Head, ...], tuple[Tensor, ...]]] = {
        "vocabulary_mle": (cross_entropy, (), (tokens,)),
        "vocabulary_erac": (
            partial(actor_critic, tau=0.045, target_tau=0.045),
            tuple(heads[1:]),
            (forced, tokens),
        ),
    }
    for name, (row_loss, frozen, rows) in losses.items():
        for precision in settings.precisions:
            ours = partial(
                _gradient, row_loss, heads[0]._replace(product_type=TYPES[precision]), frozen, rows
            )
            alone = _products(heads[0], len(frozen) + 1, TYPES[precision] or torch.float32)
            times = compare({name: ours, "products_alone": alone}, settings.repeats)
            flop = 2.0 * n * vocabulary * hidden * (len(frozen) + 3)
            yield timed_row(
                settings,
                suite,
                Form(name, times[name], peak_memory=peak_memory(ours, settings.device)),
                Form("products_alone", times["products_alone"]),
                precision=precision,
                vocabulary=vocabulary,
                hidden=hidden,
                numbers={
                    "rows": float(n),
                    "gflops": _rate(flop, times[name]),
                    "products_gflops": _rate(flop, times["products_alone"]),
                },
            )


def _gradient(row_loss: RowLoss, head: Head, frozen: Sequence[Head], rows: Sequence[Tensor]) -> None:
    total, _ = vocabulary_loss(row_loss, head, frozen=frozen, rows=rows)
    torch.autograd.grad(total, head[:3])


def _rate(flop: float, times: Times) -> float:
    return 1e-9 * flop / times.spread().median


@torch.no_grad()
def _products(head: Head, num_forward: int, dtype: torch.dtype) -> Callable[[], None]:
    """``num_forward`` products of the output layer, and the two of one gradient."""
    features, weight = head.features.detach().to(dtype), head.weight.detach().to(dtype)
    table = torch.empty(len(features), len(weight), dtype=dtype, device=weight.device)
    d_features, d_weight = torch.empty_like(features), torch.empty_like(weight)

    def run() -> None:
        for _ in range(num_forward):
            torch.mm(features, weight.t(), out=table)
        torch.mm(table, weight, out=d_features)
        torch.mm(table.t(), features, out=d_weight)

    return run
