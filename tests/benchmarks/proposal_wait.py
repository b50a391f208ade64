"""Do proposals with their rewards keep up with the learner, with one sample worker? (RAML, n-grams, BLEU.)

    python -m tests.benchmarks.proposal_wait

prints, for the demo's size and for the published one at V = 23,000, an update's median time and the share of
the updates' time that the learner waited for samples, rewards included: the goal is under 5 %. One learner
thread, random batches, Ray on this machine; the first updates, which fill the queue, are left out.
"""

from __future__ import annotations

import statistics
import time
from collections import deque

import numpy as np
import ray
import torch

from raysq.algorithms import Networks, Raml
from raysq.algorithms.moment import Moment
from raysq.cluster.sample_workers import RemoteSource, create_sample_workers, wait_for
from raysq.models import Seq2Seq
from raysq.rewards import SentenceBleu
from raysq.training.collective import Collective
from raysq.training.step import Step
from raysq.types import Batch
from tests.benchmarks.inputs import random_batch

WARM_UP = 4
"""Updates left out."""
SIZES = ((800, 128, 40), (23_000, 256, 10))
"""V, units, updates measured."""


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
    workers = create_sample_workers(1, SentenceBleu(), scale_by_length=True)
    wait_for(workers)
    print(f"{'V':>6} {'units':>5} {'sequences':>9} {'update ms':>9} {'wait':>6}")
    for vocabulary_size, hidden_size, updates in SIZES:
        for num_samples in (5, 10):
            took, waited = measure(vocabulary_size, hidden_size, updates, num_samples, workers)
            share = sum(waited) / sum(took)
            milliseconds = 1e3 * statistics.median(took)
            print(
                f"{vocabulary_size:>6} {hidden_size:>5} {num_samples:>9} {milliseconds:>9.0f} {share:>6.2%}"
            )
    ray.shutdown()


def measure(
    vocabulary_size: int, hidden_size: int, updates: int, num_samples: int, workers: list[object]
) -> tuple[list[float], list[float]]:
    """Seconds that each update took, and waited for its samples."""
    policy = Seq2Seq(
        vocabulary_size,
        vocabulary_size,
        embedding_size=hidden_size,
        hidden_size=hidden_size,
        attention="dot",
        input_feeding=False,
        attention_bias=False,
        dropout=0.3,
    )
    policy.initialise(torch.Generator().manual_seed(1))
    algorithm, networks = Raml(num_samples=num_samples), Networks(policy)
    source = RemoteSource(algorithm, networks, workers)
    step = Step(algorithm, networks, source, Collective())
    generator = np.random.default_rng(1)
    announced: deque[Batch] = deque()
    took, waited = [], []
    last = WARM_UP + updates - 1
    for update in range(last + 1):
        started = time.perf_counter()
        for ahead in range(update + len(announced), min(update + source.look_ahead(update), last) + 1):
            announced.append(random_batch(generator, vocabulary_size))
            source.announce([announced[-1]], Moment(1, "raml", ahead))
        metrics = step.run([announced.popleft()], Moment(1, "raml", update))
        if update >= WARM_UP:
            took.append(time.perf_counter() - started)
            waited.append(metrics["waited"][0])
    return took, waited


if __name__ == "__main__":
    main()
