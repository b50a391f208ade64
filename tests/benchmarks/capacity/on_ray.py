"""What Ray's calls and object store cost, measured in a Ray session of this machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from raysq.cluster.reward_workers import RemoteScorer, create_reward_workers
from raysq.cluster.workers import collect
from raysq.rewards import RewardFunction, Rouge, SentenceBleu
from raysq.rewards.scoring import ScoringBatch, payoffs
from raysq.types import EOS, Samples
from tests.benchmarks.capacity.constants import Cost, Figure
from tests.benchmarks.inputs import random_pairs

WORDS = 25
"""Of each hypothesis and reference."""
VOCABULARY = 22_822
PAIRS = (1, 50, 500)
"""Pairs in a call."""
CALLS = 20
"""Calls in a run."""
POLLS = 500
"""Calls that do nothing in a run, all in flight."""
PATIENCE = 120.0
"""How long an answer may take [s]."""

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # its actors need no tests on their path


class Copier:
    """Copies arrays out of the object store into memory of its own."""

    def copy(self, reference: tuple[Any]) -> float:
        """The time it takes, fetching included [s]."""
        started = time.perf_counter()
        arrays: dict[str, NDArray[np.float32]] = ray.get(reference[0])
        for name, array in arrays.items():
            self._tensors[name].copy_(torch.tensor(array))
        return time.perf_counter() - started

    def prepare(self, sizes: dict[str, int]) -> None:
        """Have memory for so many numbers by name, touched."""
        torch.set_num_threads(1)
        self._tensors = {name: torch.zeros(size) for name, size in sizes.items()}


def scored_pairs(num_pairs: int) -> tuple[Samples, list[list[NDArray[np.int32]]]]:
    """Samples of ``WORDS`` words and their references."""
    generator = np.random.default_rng(1)
    hypotheses, references = random_pairs(generator, num_pairs, WORDS, 1, VOCABULARY)
    ends = np.full((num_pairs, 1), EOS)
    targets = torch.from_numpy(np.concatenate((hypotheses, ends), 1).astype(np.int64))
    mask = torch.ones_like(targets, dtype=torch.bool)
    return Samples(targets, targets, mask, torch.zeros_like(mask), 1), references


def pair_figures(repeats: int) -> dict[str, Figure]:
    """Time of a pair on one core by reward, in batches of 500. [us]"""
    rewards: dict[str, RewardFunction] = {"bleu": SentenceBleu(), "rouge": Rouge()}
    return {
        name: Figure.of(_scoring_seconds(reward, 500, repeats), 1e6 / 500, "us")
        for name, reward in rewards.items()
    }


def score_cost(repeats: int) -> Cost:
    """Of a reward worker's own part of a call."""
    return Cost.through({float(n): Figure.of(_scoring_seconds(SentenceBleu(), n, repeats)) for n in PAIRS})


def _scoring_seconds(reward: RewardFunction, num_pairs: int, repeats: int) -> list[float]:
    batch = ScoringBatch.of(*scored_pairs(num_pairs))
    payoffs(reward, batch)
    found = []
    for _ in range(repeats):
        started = time.process_time()
        for _ in range(CALLS):
            payoffs(reward, batch)
        found.append((time.process_time() - started) / CALLS)
    return found


def warm_workers(count: int) -> list[Any]:
    """Reward workers that are ready."""
    workers = create_reward_workers(count, SentenceBleu())
    RemoteScorer(workers).warm_up()
    return workers


def call_costs(workers: Sequence[Any], repeats: int) -> tuple[Cost, Cost]:
    """Of sending one call off (processor time), and from its beginning to the reply, over its pairs."""
    scorer = RemoteScorer(workers[:1])
    submit: dict[float, Figure] = {}
    whole: dict[float, Figure] = {}
    for num_pairs in PAIRS:
        samples, references = scored_pairs(num_pairs)
        scorer.submit(samples, references).result()
        sent, answered = [], []
        for _ in range(repeats):
            sending = waiting = 0.0
            for _ in range(CALLS):
                worked, started = time.thread_time(), time.perf_counter()
                pending = scorer.submit(samples, references)
                sending += time.thread_time() - worked
                pending.result()
                waiting += time.perf_counter() - started
            sent.append(sending / CALLS)
            answered.append(waiting / CALLS)
        submit[float(num_pairs)], whole[float(num_pairs)] = Figure.of(sent), Figure.of(answered)
    return Cost.through(submit), Cost.through(whole)


def poll_figure(workers: Sequence[Any], repeats: int) -> Figure:
    """Processor time of the caller for one of many calls that do nothing."""
    found = []
    for repeat in range(repeats + 1):
        started = time.process_time()
        collect([workers[i % len(workers)].process_id.remote() for i in range(POLLS)], "reward", PATIENCE)
        if repeat:
            found.append((time.process_time() - started) / POLLS)
    return Figure.of(found)


def store_figures(num_bytes: int, repeats: int) -> tuple[Figure, Figure]:
    """Rates of putting a snapshot of so many bytes, and of copying it out in another process. [GB/s]"""
    sizes = {str(i): num_bytes // 16 for i in range(4)}  # four arrays of float32
    arrays = {name: np.ones(size, np.float32) for name, size in sizes.items()}
    copier = ray.remote(num_cpus=0)(Copier).remote()
    ray.get(copier.prepare.remote(sizes), timeout=PATIENCE)
    put, got = [], []
    for repeat in range(repeats + 1):
        started = time.perf_counter()
        reference = ray.put(arrays)
        between = time.perf_counter()
        seconds = ray.get(copier.copy.remote((reference,)), timeout=PATIENCE)
        if repeat:
            put.append(1e-9 * num_bytes / (between - started))
            got.append(1e-9 * num_bytes / seconds)
        del reference
    ray.kill(copier)
    return Figure.of(put, unit="GB/s"), Figure.of(got, unit="GB/s")
