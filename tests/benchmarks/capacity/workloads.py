"""Updates at one size, ready to be measured: at the published sizes, and those of a finished demo run."""

from __future__ import annotations

import pickle
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from raysq.algorithms import Algorithm, Networks
from raysq.algorithms.moment import Moment
from raysq.algorithms.on_policy import OnPolicy
from raysq.cluster.sample_workers import NO_COUNTS, with_arrays
from raysq.data.batches import collate, epoch_batches
from raysq.data.shards import Corpus
from raysq.finished import FinishedStage
from raysq.rewards import LocalScorer
from raysq.rewards.scoring import PendingRewards, RewardScorer, ScoringBatch, payoffs
from raysq.training.collective import Collective
from raysq.training.samples import LocalSource
from raysq.training.state import make_networks
from raysq.training.step import Step
from raysq.types import Batch, Rewards, Samples
from tests.benchmarks.capacity.constants import KINDS, Cost, Figure, Workload
from tests.benchmarks.capacity.settings import CapacitySettings
from tests.benchmarks.demo_run import DemoRun
from tests.benchmarks.measure import Times, compare
from tests.benchmarks.problem import UPDATES, Problem
from tests.benchmarks.settings import BenchmarkSettings

Count = TypeVar("Count", int, float)
SHARES = (1, 2, 4)
"""Learners whose share of a batch is measured."""
DEMO_BATCHES = 10
"""Batches of the demo in a run: they differ in length."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A workload that can be run."""

    batches: Sequence[Batch]
    """Global batches, at least one."""
    moment: Moment
    networks: Networks
    """Of an ERAC stage."""
    source: LocalSource
    """Of its samples."""
    algorithms: Mapping[str, Algorithm]
    """By kind of update."""
    updates: Callable[[str], Mapping[float, Callable[[], object]]]
    """From a kind to runs by the number of sentences in each update."""
    draws: Mapping[float, Callable[[], object]]
    """Runs of drawing alone, likewise."""
    each: int = 1
    """Updates, or draws, in a run."""


class Watched:
    """A scorer that notes how long after sending its rewards are asked for, in processor time."""

    def __init__(self, scorer: RewardScorer) -> None:
        self.gaps: list[float] = []
        self._scorer = scorer

    def submit(self, samples: Samples, references: Sequence[Sequence[NDArray[np.int32]]]) -> PendingRewards:
        """Score."""
        return _WatchedRewards(self._scorer.submit(samples, references), self.gaps)

    def warm_up(self) -> None:
        """As the scorer does."""
        self._scorer.warm_up()


class _WatchedRewards:
    def __init__(self, pending: PendingRewards, gaps: list[float]) -> None:
        self._pending, self._gaps = pending, gaps
        self._sent: float | None = time.process_time()

    @property
    def waited_seconds(self) -> float:
        return self._pending.waited_seconds

    def result(self) -> Rewards:
        if self._sent is not None:
            self._gaps.append(time.process_time() - self._sent)
            self._sent = None
        return self._pending.result()


def published(settings: CapacitySettings) -> Parts:
    """Updates of the sizes asked for, over random sentences."""
    shares = sorted({max(2, settings.batch_size // share) for share in SHARES})

    def problem(kind: str, sentences: int) -> Problem:
        measured = next(update for update in UPDATES if update.name == f"{kind}_update")
        sizes = BenchmarkSettings(
            output_dir=Path(), device="cpu", threads=1, batch_size=sentences, length=settings.length
        )
        return Problem(sizes, measured, settings.vocabulary, settings.hidden)

    def updates(kind: str) -> dict[float, Callable[[], object]]:
        networks = problem(kind, shares[-1]).networks()
        return {float(n): problem(kind, n).ours("float32", networks) for n in shares}

    whole = problem("erac", settings.batch_size)
    networks = whole.networks()
    drawn = {n: problem("erac", n) for n in shares}
    return Parts(
        batches=[whole.batch],
        moment=whole.moment,
        networks=networks,
        source=whole.source(networks),
        algorithms={kind: problem(kind, shares[0]).algorithm for kind in KINDS},
        updates=updates,
        draws={
            float(n): partial(one.source(networks).draw, one.batch, one.moment) for n, one in drawn.items()
        },
    )


def demo(run: DemoRun) -> Parts:
    """ERAC updates of a finished run, on its own batches as learners share them."""
    stage = FinishedStage.open(run.folder, "erac")
    algorithm, reward = stage.algorithm(), stage.reward()
    corpus = Corpus.load(run.folder.parent / "data-demo")
    networks = make_networks(
        corpus,
        stage.network,
        algorithm,
        {"policy": run.stages["mle"], "critic": run.stages["critic"]},
        seed=1,
        stage="erac",
        device="cpu",
    )
    split = corpus.splits["train"]
    lengths = split.source_lengths, split.target_lengths
    batches = epoch_batches(*lengths, algorithm.batch_size, 1, 0)[:DEMO_BATCHES]
    function = reward.function()
    scorer = LocalScorer(function, reward.scale_by_length)
    source = LocalSource(algorithm, networks, function, scorer)
    step = Step(algorithm, networks, source, Collective())

    def slices(share: int) -> list[Batch]:
        return [collate(split, ids, 0, share) for ids in batches]

    def sentences(share: int) -> float:
        return statistics.mean(len(batch.example_ids) for batch in slices(share))

    def train(slices: Sequence[Batch]) -> None:
        for i, batch in enumerate(slices):
            step.run([batch], Moment(1, "erac", i))

    def draw(slices: Sequence[Batch]) -> None:
        for i, batch in enumerate(slices):
            source.draw(batch, Moment(1, "erac", i))

    return Parts(
        batches=slices(1),
        moment=Moment(1, "erac", 0),
        networks=networks,
        source=source,
        algorithms={"erac": algorithm},
        updates=lambda kind: {sentences(share): partial(train, slices(share)) for share in SHARES},
        draws={sentences(share): partial(draw, slices(share)) for share in SHARES},
        each=len(batches),
    )


def measured(parts: Parts, repeats: int) -> Workload:
    """What a workload takes, in this process with one thread."""
    updates: dict[str, Cost] = {}
    variation = 0.0
    for kind in parts.algorithms:
        times = worked(parts.updates(kind), repeats)
        updates[kind] = _cost(times, parts.each)
        if kind == "erac" and repeats > 1:
            seconds = times[max(times)].seconds
            variation = statistics.stdev(seconds) / statistics.mean(seconds)
    batch, policy = parts.batches[0], parts.networks.policy
    samples, pending = parts.source.draw(batch, parts.moment)
    assert pending is not None
    scored = ScoringBatch.of(samples, batch.references)
    back = with_arrays(replace(samples, memory=None)), with_arrays(pending.result())
    return Workload(
        vocabulary=len(policy.output.weight),
        hidden=policy.hidden_size,
        sentences=len(batch.example_ids),
        tokens=float(batch.reference_mask.sum()),
        updates=updates,
        draw=_cost(worked(parts.draws, repeats), parts.each),
        window=window(parts, repeats),
        variation=variation,
        pairs={kind: _pairs(algorithm) for kind, algorithm in parts.algorithms.items()},
        gradient_bytes={
            kind: sum(_bytes(getattr(parts.networks, group)) for group in algorithm.trains)
            for kind, algorithm in parts.algorithms.items()
        },
        sums={kind: 2 + len(algorithm.trains) for kind, algorithm in parts.algorithms.items()},
        weights_bytes=_bytes(policy),
        batch_bytes=_sent(with_arrays(replace(batch, word_counts=NO_COUNTS))),
        samples_bytes=_sent(back),
        request_bytes=_sent(scored),
        reply_bytes=_sent(payoffs(parts.source.reward_function, scored)),
    )


def window(parts: Parts, repeats: int) -> float:
    """Share of an ERAC update between sending its samples to be scored and asking for the rewards."""
    watched = Watched(parts.source.scorer)
    source = replace(parts.source, scorer=watched)
    step = Step(parts.algorithms["erac"], parts.networks, source, Collective())
    times = worked({1: partial(step.run, [parts.batches[0]], parts.moment)}, repeats)[1].seconds
    return statistics.median(gap / took for gap, took in zip(watched.gaps[1:], times, strict=True))


def timed(runs: Mapping[Count, Callable[[], object]], repeats: int) -> dict[Count, Times]:
    """Times of runs by a count, made in turn, each once more before."""
    by_name = compare({repr(n): run for n, run in runs.items()}, repeats)
    return {n: by_name[repr(n)] for n in runs}


def worked(runs: Mapping[Count, Callable[[], object]], repeats: int) -> dict[Count, Times]:
    """Processor time of runs by a count, made in turn, each once more before.

    What a core takes, whoever else would like to have it meanwhile; of arithmetic in this process alone.
    """
    took: dict[Count, list[float]] = {n: [] for n in runs}
    for repeat in range(repeats + 1):
        for n, run in runs.items():
            started = time.process_time()
            run()
            if repeat:
                took[n].append(time.process_time() - started)
    return {n: Times(tuple(seconds)) for n, seconds in took.items()}


def _cost(times: Mapping[float, Times], each: int) -> Cost:
    return Cost.through({n: Figure.of(of_n.seconds, 1 / each) for n, of_n in times.items()})


def _pairs(algorithm: Algorithm) -> int:
    if not algorithm.uses_rewards:
        return 0
    assert isinstance(algorithm, OnPolicy)
    return algorithm.num_samples


def _bytes(network: nn.Module | None) -> int:
    assert network is not None
    return sum(tensor.numel() * tensor.element_size() for tensor in network.parameters())


def _sent(value: object) -> int:
    return len(pickle.dumps(value, protocol=5))
