import os
import pickle
import signal
import sys
import time
from dataclasses import dataclass

import numpy as np
import pytest
import ray
import torch

from raysq.cluster.reward_workers import RemoteScorer, create_reward_workers
from raysq.config import UserError
from raysq.rewards import LocalScorer, SentenceBleu
from raysq.types import BOS, EOS, PAD, Rewards, Samples

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


@dataclass(frozen=True)
class SlowBleu:
    """BLEU after a delay; the single word of the warm-up is not delayed."""

    delay_seconds: float

    def prefix_scores(self, hypotheses, lengths, references):
        if len(hypotheses) > 1:
            time.sleep(self.delay_seconds)
        return SentenceBleu().prefix_scores(hypotheses, lengths, references)

    def empty_score(self, references):
        return np.zeros(len(references))


@dataclass(frozen=True)
class Fatal:
    """Ends its process in every call but the warm-up's."""

    def prefix_scores(self, hypotheses, lengths, references):
        if len(hypotheses) > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.zeros(hypotheses.shape)

    def empty_score(self, references):
        return np.zeros(len(references))


@dataclass(frozen=True)
class Broken:
    def prefix_scores(self, hypotheses, lengths, references):
        if len(hypotheses) > 1:
            raise ZeroDivisionError("a defect in the reward")
        return np.zeros(hypotheses.shape)

    def empty_score(self, references):
        return np.zeros(len(references))


@dataclass(frozen=True)
class Mistaken:
    def prefix_scores(self, hypotheses, lengths, references):
        if len(hypotheses) > 1:
            raise UserError("the setting is wrong: change it")
        return np.zeros(hypotheses.shape)

    def empty_score(self, references):
        return np.zeros(len(references))


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


def warm_scorer(num_workers: int, reward_function) -> RemoteScorer:
    scorer = RemoteScorer(create_reward_workers(num_workers, reward_function))
    scorer.warm_up()
    return scorer


@pytest.fixture(scope="module")
def slow_worker(ray_session) -> RemoteScorer:
    return warm_scorer(1, SlowBleu(0.05))


def test_number_of_workers_changes_nothing(ray_session):
    scorer = warm_scorer(3, SentenceBleu())
    one = pickle.loads(pickle.dumps(RemoteScorer(scorer.workers[:1])))
    for num_examples, num_per_example in ((10, 2), (7, 1), (1, 2), (1, 1)):  # 20, 7, 2, 1 sequences
        samples, references = random_batch(num_examples, num_per_example, seed=num_examples)
        local = LocalScorer(SentenceBleu()).submit(samples, references).result()
        assert local.sequence.shape == (num_examples * num_per_example,)
        assert_same(scorer.submit(samples, references).result(), local)
        assert_same(one.submit(samples, references).result(), local)


def test_results_keep_to_their_batch(ray_session, slow_worker):
    batches = [random_batch(5, 1, seed) for seed in range(3)]
    pending = [slow_worker.submit(*batch) for batch in batches]
    for batch, rewards in reversed(list(zip(batches, pending, strict=True))):
        assert_same(rewards.result(), LocalScorer(SentenceBleu()).submit(*batch).result())
        assert rewards.result() is rewards.result()


def test_scoring_overlaps_with_other_work(ray_session, slow_worker):
    """Scoring takes 50 ms: who asks at once waits for it, who has other work to do meanwhile does not."""
    batch = random_batch(5, 2, seed=1)
    at_once, later = [], []
    for _ in range(3):  # the best of three: other processes may hold the machine up
        pending = slow_worker.submit(*batch)
        pending.result()
        at_once.append(pending.waited_seconds)
        pending = slow_worker.submit(*batch)
        time.sleep(0.2)
        pending.result()
        later.append(pending.waited_seconds)
    assert min(at_once) > 0.03
    assert min(later) < 0.01


def test_killed_worker_is_restarted_and_its_batch_scored_again(ray_session):
    scorer = warm_scorer(2, SlowBleu(1.0))
    batch = random_batch(5, 2, seed=2)
    victim = ray.get(scorer.workers[1].process_id.remote())
    pending = scorer.submit(*batch)
    time.sleep(0.3)  # both calls are running
    os.kill(victim, signal.SIGKILL)
    assert_same(pending.result(), LocalScorer(SentenceBleu()).submit(*batch).result())
    assert ray.get(scorer.workers[1].process_id.remote()) != victim


def test_reward_that_kills_every_worker_ends_in_a_clear_error(ray_session):
    scorer = warm_scorer(1, Fatal())
    with pytest.raises(RuntimeError, match="a reward worker died, and again at each of 3 repetitions"):
        scorer.submit(*random_batch(2, 1, seed=3)).result()


def test_exception_of_the_reward_comes_through(ray_session):
    scorer = warm_scorer(1, Broken())
    with pytest.raises(ZeroDivisionError, match="a defect in the reward"):
        scorer.submit(*random_batch(2, 1, seed=3)).result()


def test_a_mistake_of_the_user_comes_through_as_its_one_line(ray_session):
    scorer = warm_scorer(1, Mistaken())
    with pytest.raises(UserError) as caught:
        scorer.submit(*random_batch(2, 1, seed=3)).result()
    assert type(caught.value) is UserError
    assert str(caught.value) == "the setting is wrong: change it"


def test_call_that_hangs_ends_in_a_clear_error(ray_session, slow_worker):
    impatient = RemoteScorer(slow_worker.workers, timeout_seconds=0.01)
    with pytest.raises(RuntimeError, match=r"rewards were not there after 0\.01 s"):
        impatient.submit(*random_batch(2, 1, seed=4)).result()


def test_at_least_one_worker():
    with pytest.raises(ValueError, match="at least one reward worker"):
        RemoteScorer([])
    with pytest.raises(ValueError, match="num_workers must be at least 1, not 0"):
        create_reward_workers(0, SentenceBleu())
