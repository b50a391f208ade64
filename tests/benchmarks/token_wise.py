"""What do updates cost whose tokens are drawn with a reward in mind? Against MLE and a sampling pass.

    python -m tests.benchmarks.token_wise

prints the median time of an update of Interpolation (at its first, a middle and its last mixture) and of SPG,
and their ratio to an MLE update plus one pass of ancestral sampling: the goal is at most 3. Networks of the
published size at V = 23,000, batches of 50 random pairs of about 22 tokens, one thread, all in turn in one
process. Time is this process' own processor time, so that other processes disturb it less.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from raysq.algorithms import Algorithm, Interpolation, Mle, Networks, ScheduledSampling, Spg
from raysq.algorithms.moment import Moment
from raysq.decoding import sample
from raysq.models import Seq2Seq
from raysq.rewards import SentenceBleu
from raysq.rewards.scoring import LocalScorer
from raysq.training.collective import Collective
from raysq.training.samples import LocalSource
from raysq.training.step import Step
from raysq.types import EOS, Batch
from tests.benchmarks.inputs import random_batch

V, B, HIDDEN, LENGTH = 23_000, 50, 256, 22
REPEATS = 9


def make_policy() -> Seq2Seq:
    """A fresh policy whose samples are about as long as the references."""
    policy = Seq2Seq(
        V, V, embedding_size=HIDDEN, hidden_size=HIDDEN, attention="dot", input_feeding=False,
        attention_bias=False, dropout=0.3,
    )  # fmt: skip
    policy.initialise(torch.Generator().manual_seed(1))
    with torch.no_grad():
        policy.output.bias[EOS] = math.log(V / LENGTH)
    return policy


def sampling_pass(batch: Batch, moment: Moment) -> Callable[[], float]:
    """One ancestral sample a sentence; gives its mean length."""
    policy = make_policy()

    def run() -> float:
        with torch.no_grad():
            memory = policy.encode(batch.source, batch.source_mask)
        T = batch.longest_reference + 10
        masks = moment.dropout_mask("sample dropout", batch, 1, T, policy)
        uniforms = moment.uniforms("samples", batch, 1, T)
        return float(sample(policy, memory, uniforms, dropout_mask=masks).mask.sum()) / B

    return run


def update(algorithm: Algorithm, batch: Batch, moment: Moment) -> Callable[[], float]:
    """Updates of a policy of its own; gives the mean length of what was trained on."""
    networks, reward = Networks(make_policy()), SentenceBleu()
    scorer = LocalScorer(reward)
    step = Step(algorithm, networks, LocalSource(algorithm, networks, reward, scorer), Collective())

    def run() -> float:
        with torch.no_grad():  # updates must not drift to other lengths
            networks.policy.output.bias[EOS] = math.log(V / LENGTH)
        return step.run([batch], moment)["tokens"][0] / B

    return run


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    batch = random_batch(np.random.default_rng(1), V, B, LENGTH)
    moment = Moment(1, "x", 3000)

    def at(decays: int) -> Moment:
        return Moment(1, "x", 3000, decays=decays)

    runs = {
        "MLE": update(Mle(optimizer="adam", learning_rate=1e-3), batch, moment),
        "sampling": sampling_pass(batch, moment),
        "interpolation .04 .00 .96": update(Interpolation(), batch, moment),
        "interpolation .16 .36 .48": update(Interpolation(), batch, at(8)),
        "interpolation .28 .72 .00": update(Interpolation(), batch, at(16)),
        "SPG, 0.4 dropped": update(Spg(), batch, moment),
        "SPG, none dropped": update(Spg(drop_rate=0.0), batch, moment),
        "scheduled sampling, half": update(ScheduledSampling(), batch, Moment(1, "x", 3107)),
    }
    took: dict[str, list[float]] = {name: [] for name in runs}
    lengths: dict[str, float] = {}
    for i in range(REPEATS + 1):
        for name, run in runs.items():
            began = time.process_time()
            lengths[name] = run()
            if i:  # the first compiles kernels
                took[name].append(1000 * (time.process_time() - began))
    medians = {name: statistics.median(times) for name, times in took.items()}
    both = medians["MLE"] + medians["sampling"]
    for name, median in medians.items():
        low, high = min(took[name]), max(took[name])
        print(
            f"{name:26} {median:7.0f} ms ({low:.0f} .. {high:.0f}), {lengths[name]:4.1f} tokens a sequence, "
            f"{median / both:.2f} of MLE and sampling"
        )


if __name__ == "__main__":
    main()
