"""How long the stages of a sweep may take, from measured rates."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from raysq.algorithms import Algorithm, Group
from raysq.algorithms.moment import Moment
from raysq.data.batches import collate, epoch_batches
from raysq.data.shards import Corpus
from raysq.records import RESULT
from raysq.rewards.scoring import LocalScorer
from raysq.storage import pull
from raysq.sweep.graph import Graph, Node, kind_of, known_rates
from raysq.training.collective import Collective
from raysq.training.samples import LocalSource
from raysq.training.state import make_networks
from raysq.training.step import Step

MEASURED_UPDATES = 3
"""Updates timed, after one to warm up, of a kind of stage that was never trained here."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of one stage to be trained."""

    updates: int
    """At most; a stage may end sooner."""
    rate: float
    """Seconds for an update on one core."""
    source: str
    """``trained``: the median of finished stages of its kind, evaluations included; ``timed``: a few updates
    just now, with fresh networks where those it starts from are not there yet, evaluations not included."""

    @property
    def seconds(self) -> float:
        """Of the whole stage, at most."""
        return self.updates * self.rate


def forecast(graph: Graph, store: Path, corpus: Corpus, threads: int) -> dict[Path, Forecast]:
    """How long each stage to be trained may take."""
    known, timed = known_rates(store), dict[str, float]()
    found = {}
    for node in graph.to_train:
        kind = kind_of(node)
        if kind not in known and kind not in timed:
            timed[kind] = measured_rate(node, corpus, threads)
        source = "trained" if kind in known else "timed"
        rate = known[kind] if kind in known else timed[kind]
        found[node.folder] = Forecast(most_updates(node, graph, corpus), rate, source)
    return found


def most_updates(node: Node, graph: Graph, corpus: Corpus) -> int:
    """Update at which a stage ends at the latest; a control has as many as the stage it is like."""
    spec = node.stage.spec
    model = graph.nodes.get(spec.updates_of) if spec.updates_of else None
    most = whole_schedule((model or node).stage.spec.algorithm, corpus)
    return min(most, spec.until or most)


def whole_schedule(algorithm: Algorithm, corpus: Corpus) -> int:
    """Updates of a stage at most."""
    return algorithm.most_updates(math.ceil(len(corpus.splits["train"]) / algorithm.batch_size))


def measured_rate(node: Node, corpus: Corpus, threads: int) -> float:
    """Seconds for an update of a stage, timed on its first batches, in this process, on the CPU."""
    torch.set_num_threads(threads)
    spec, config = node.stage.spec, node.config
    algorithm, split = spec.algorithm, corpus.splits["train"]
    parents: dict[Group, Path | None] = {"policy": spec.policy_from, "critic": spec.critic_from}
    there = {role: p if p and (p / RESULT).exists() else None for role, p in parents.items()}
    for parent in filter(None, there.values()):
        pull(parent)
    networks = make_networks(
        corpus, config.network, algorithm, there, seed=spec.seed, stage=spec.name, device="cpu"
    )
    function = config.reward.function()
    source = LocalSource(algorithm, networks, function, LocalScorer(function, config.reward.scale_by_length))
    step = Step(algorithm, networks, source, Collective())
    lengths = split.source_lengths, split.target_lengths
    batches = epoch_batches(*lengths, algorithm.batch_size, spec.seed, 0)
    started = 0.0
    for update in range(1 + MEASURED_UPDATES):
        if update == 1:
            started = time.perf_counter()
        moment = Moment(spec.seed, spec.name, update)
        batch = collate(split, batches[update % len(batches)], 0, 1)
        source.announce([batch], moment)
        step.run([batch], moment)
    return (time.perf_counter() - started) / MEASURED_UPDATES


def path_and_sum(graph: Graph, forecasts: Mapping[Path, Forecast]) -> tuple[float, float]:
    """Critical path and sum of what is to be trained [s]."""
    seconds = {folder: forecast.seconds for folder, forecast in forecasts.items()}
    return max(graph.remaining_seconds(seconds).values(), default=0.0), sum(seconds.values())
