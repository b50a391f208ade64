import os
import pickle
import signal
import sys
import time

import numpy as np
import pytest
import ray
import torch

from raysq.cluster.reward_workers import RemoteScorer, create_reward_workers
from raysq.config import Unfinished, UserError
from raysq.rewards import LocalScorer, SentenceBleu
from raysq.types import BOS, EOS, PAD, Rewards, Samples

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


SLOW, FATAL, DEFECT, MISTAKE = 101, 102, 103, 104
"""Batches of so many sequences are scored slowly, or not at all."""


class Odd(SentenceBleu):
    """BLEU after 50 ms, but for the single word of the warm-up and the batches of the sizes above."""

    def prefix_scores(self, hypotheses, lengths, references):
        size = len(hypotheses)
        if size == FATAL:
            os.kill(os.getpid(), signal.SIGKILL)
        if size == DEFECT:
            raise ZeroDivisionError("a defect in the reward")
        if size == MISTAKE:
            raise UserError("the setting is wrong: change it")
        time.sleep(0 if size == 1 else 1 if size == SLOW else 0.05)
        return super().prefix_scores(hypotheses, lengths, references)


def random_batch(num_examples: int, num_per_example: int, seed: int):
    rng = np.random.default_rng(seed)
    M, T = num_examples * num_per_example, 12
    lengths = torch.from_numpy(rng.integers(0, T, M))
    position = torch.arange(T)
    targets = torch.from_numpy(rng.integers(11, 16, (M, T)))
    targets[position == lengths[:, None]] = EOS
    targets[position > lengths[:, None]] = PAD
    mask = targets != PAD
    inputs = torch.cat((torch.full((M, 1), BOS), targets[:, :-1]), 1)
    references = [
        [rng.integers(11, 16, rng.integers(1, 12)).astype(np.int32) for _ in range(rng.integers(1, 4))]
        for _ in range(num_examples)
    ]
    return Samples(inputs, targets, mask, torch.zeros_like(mask), num_per_example), references


def assert_same(actual: Rewards, expected: Rewards) -> None:
    for name in ("sequence", "token", "scale"):
        assert torch.equal(getattr(actual, name), getattr(expected, name)), name


@pytest.fixture(scope="module")
def three(ray_session) -> RemoteScorer:
    """Three workers, as each takes seconds to start."""
    scorer = RemoteScorer(create_reward_workers(3, Odd()))
    scorer.warm_up()
    return scorer


@pytest.fixture(scope="module")
def one(three) -> RemoteScorer:
    """The first of them, by a handle that has travelled."""
    return pickle.loads(pickle.dumps(RemoteScorer(three.workers[:1])))


def test_number_of_workers_changes_nothing(three, one):
    for num_examples, num_per_example in ((10, 2), (7, 1), (1, 2), (1, 1)):  # 20, 7, 2, 1 sequences
        samples, references = random_batch(num_examples, num_per_example, seed=num_examples)
        local = LocalScorer(SentenceBleu()).submit(samples, references).result()
        assert local.sequence.shape == (num_examples * num_per_example,)
        assert_same(three.submit(samples, references).result(), local)
        assert_same(one.submit(samples, references).result(), local)


def test_results_keep_to_their_batch(one):
    batches = [random_batch(5, 1, seed) for seed in range(3)]
    pending = [one.submit(*batch) for batch in batches]
    for batch, rewards in reversed(list(zip(batches, pending, strict=True))):
        assert_same(rewards.result(), LocalScorer(SentenceBleu()).submit(*batch).result())
        assert rewards.result() is rewards.result()


def test_scoring_overlaps_with_other_work(one):
    """Scoring takes 50 ms: who asks at once waits for it, who has other work to do meanwhile does not."""
    batch = random_batch(5, 2, seed=1)
    at_once, later = [], []
    for _ in range(3):  # the best of three: other processes may hold the machine up
        pending = one.submit(*batch)
        pending.result()
        at_once.append(pending.waited_seconds)
        pending = one.submit(*batch)
        time.sleep(0.2)
        pending.result()
        later.append(pending.waited_seconds)
    assert min(at_once) > 0.03
    assert min(later) < 0.01


def test_killed_worker_is_restarted_and_its_batch_scored_again(three):
    batch = random_batch(SLOW * 3, 1, seed=2)
    victim = ray.get(three.workers[1].process_id.remote())
    pending = three.submit(*batch)
    time.sleep(0.3)  # all three calls are running
    os.kill(victim, signal.SIGKILL)
    assert_same(pending.result(), LocalScorer(SentenceBleu()).submit(*batch).result())
    assert ray.get(three.workers[1].process_id.remote()) != victim


def test_reward_that_kills_every_worker_ends_in_a_clear_error(three):
    scorer = RemoteScorer(three.workers[2:])
    with pytest.raises(Unfinished, match="a reward worker died, and again at each of 3 repetitions"):
        scorer.submit(*random_batch(FATAL, 1, seed=3)).result()


def test_exception_of_the_reward_comes_through(one):
    with pytest.raises(ZeroDivisionError, match="a defect in the reward"):
        one.submit(*random_batch(DEFECT, 1, seed=3)).result()


def test_a_mistake_of_the_user_comes_through_as_its_one_line(one):
    with pytest.raises(UserError) as caught:
        one.submit(*random_batch(MISTAKE, 1, seed=3)).result()
    assert type(caught.value) is UserError
    assert str(caught.value) == "the setting is wrong: change it"


def test_call_that_hangs_ends_in_a_clear_error(one):
    impatient = RemoteScorer(one.workers, timeout_seconds=0.01)
    with pytest.raises(Unfinished, match=r"rewards were not there after 0\.01 s"):
        impatient.submit(*random_batch(2, 1, seed=4)).result()


def test_at_least_one_worker():
    with pytest.raises(ValueError, match="at least one reward worker"):
        RemoteScorer([])
    with pytest.raises(ValueError, match="num_workers must be at least 1, not 0"):
        create_reward_workers(0, SentenceBleu())
