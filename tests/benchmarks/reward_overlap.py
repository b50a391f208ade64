"""Does a slow reward hide behind the networks? An ERAC update with rewards delayed by 50 ms, against none.

    python tests/benchmarks/reward_overlap.py DATA_DIR

prints the median update in ms with and without the delay (in turn, in one process), and the wait for rewards.
DATA_DIR is a folder that workflows/prepare.py wrote.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from raysq.algorithms import ActorCritic
from raysq.algorithms.moment import Moment
from raysq.cluster.connection import start
from raysq.cluster.reward_workers import RemoteScorer, create_reward_workers
from raysq.config import NetworkConfig
from raysq.data.batches import collate, epoch_batches
from raysq.data.shards import Corpus
from raysq.rewards import PackedReferences, SentenceBleu
from raysq.training.collective import Collective
from raysq.training.samples import LocalSource
from raysq.training.state import make_networks
from raysq.training.step import Step

PAIRS = 30


class DelayedBleu(SentenceBleu):
    """Sentence BLEU that takes 50 ms more."""

    def prefix_scores(
        self, hypotheses: NDArray[np.int32], lengths: NDArray[np.int64], references: PackedReferences
    ) -> NDArray[np.float64]:
        """BLEU, later."""
        time.sleep(0.05)
        return super().prefix_scores(hypotheses, lengths, references)


def main(data_dir: Path) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    corpus = Corpus.load(data_dir)
    algorithm = ActorCritic()
    networks = make_networks(
        corpus, NetworkConfig(), algorithm, {"policy": None, "critic": None}, seed=1, stage="x", device="cpu"
    )
    split = corpus.splits["train"]
    batches = epoch_batches(split.source_lengths, split.target_lengths, 50, 1, 0)
    start()
    steps = {}
    for name, reward in (("plain", SentenceBleu()), ("delayed", DelayedBleu())):
        scorer = RemoteScorer(create_reward_workers(1, reward))
        scorer.warm_up()
        source = LocalSource(algorithm, networks, SentenceBleu(), scorer)
        steps[name] = Step(algorithm, networks, source, Collective())
    took: dict[str, list[float]] = {name: [] for name in steps}
    waited: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(PAIRS + 3):
        batch = collate(split, batches[i])
        for name, step in steps.items():
            began = time.perf_counter()
            metrics = step.run([batch], Moment(1, "x", i))
            if i >= 3:
                took[name].append(1000 * (time.perf_counter() - began))
                waited[name].append(1000 * metrics["waited"][0])
    for name in steps:
        low, *_, high = statistics.quantiles(took[name], n=10)
        median, wait = statistics.median(took[name]), statistics.median(waited[name])
        print(f"{name:8} update {median:7.1f} ms (10-90 %: {low:.1f} .. {high:.1f}), waited {wait:.2f} ms")
    more = statistics.median([b - a for a, b in zip(took["plain"], took["delayed"], strict=True)])
    print(f"the delay adds {more:.1f} ms (median of {PAIRS} pairs)")
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
