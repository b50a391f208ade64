import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from raysq.algorithms import ActorCritic, Algorithm, CriticTraining, SoftQ
from raysq.algorithms.moment import Moment
from raysq.cluster.sample_workers import LOOK_AHEAD, RemoteSource, create_sample_workers
from raysq.config import NetworkConfig, Unfinished
from raysq.data.batches import collate
from raysq.data.shards import Corpus
from raysq.rewards import LocalScorer, SentenceBleu
from raysq.training.collective import Collective
from raysq.training.samples import LocalSource, SampleSource, drawn_by_workers
from raysq.training.state import make_networks
from raysq.training.step import Step
from raysq.types import Batch, Rewards, Samples
from raysq.workflow import main
from tests.every_algorithm.conftest import SMALL_CASES
from tests.integration.test_workflow import assert_equal_but_for_rounding
from workflows.spg import RECIPE

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests

NETWORK = NetworkConfig(embedding_size=6, hidden_size=6, init_range=0.7, dropout=0.3)
JOINT = ActorCritic(learning_rate=0.05, critic_learning_rate=0.05, max_length=6)
UPDATES = 5
DRAWN_BY_WORKERS = [
    case.algorithm.model_copy(update={"learning_rate": 0.05})
    for case in SMALL_CASES
    if drawn_by_workers(case.algorithm, "remote")
]
MOMENT = Moment(1, "x", 0)
Drawn = tuple[Samples, Rewards | None]


class SlowBleu(SentenceBleu):
    """BLEU after a second; the single word of the warm-up is not delayed."""

    def prefix_scores(self, hypotheses, lengths, references):
        if len(hypotheses) > 1:
            time.sleep(1.0)
        return super().prefix_scores(hypotheses, lengths, references)


class Pretender(SoftQ):
    """Says that it needs no network, and asks for one."""

    def draw(self, batch, networks, reward_function, moment):
        networks.sampling_policy().encode(batch.source, batch.source_mask)
        return super().draw(batch, networks, reward_function, moment)


class Recorded:
    """A source, and what was drawn from it."""

    def __init__(self, source: SampleSource) -> None:
        self.source = source
        self.drawn: list[Drawn] = []

    @property
    def waited_seconds(self) -> float:
        return self.source.waited_seconds

    def draw(self, part: Batch, moment: Moment) -> Any:
        samples, pending = self.source.draw(part, moment)
        self.drawn.append((samples, pending.result() if pending else None))
        return samples, pending


class Stage:
    """The updates of a stage, each in two parts, announced as far ahead as the source likes."""

    def __init__(self, corpus: Corpus, algorithm: Algorithm, max_staleness: int = 0) -> None:
        self.corpus, self.algorithm, self.max_staleness = corpus, algorithm, max_staleness
        self.networks = make_networks(
            corpus,
            NETWORK,
            algorithm,
            {"policy": None, "critic": None},
            seed=1,
            stage="x",
            device="cpu",
            max_staleness=max_staleness,
        )

    def local(self) -> LocalSource:
        reward = SentenceBleu()
        return LocalSource(self.algorithm, self.networks, reward, LocalScorer(reward), self.max_staleness)

    def remote(self, workers: list[Any]) -> RemoteSource:
        return RemoteSource(self.algorithm, self.networks, workers, self.max_staleness)

    def parts(self, update: int) -> list[Batch]:
        ids = np.arange(update, update + 9)
        return [collate(self.corpus.splits["train"], ids, rank, 2) for rank in range(2)]

    def run(self, source: SampleSource) -> list[Drawn]:
        recorded: Any = Recorded(source)
        step = Step(self.algorithm, self.networks, recorded, Collective())
        announced = 0
        for update in range(UPDATES):
            while announced <= min(update + source.look_ahead(update), UPDATES - 1):
                source.announce(self.parts(announced), Moment(1, "x", announced))
                announced += 1
            step.run(self.parts(update), Moment(1, "x", update))
        return recorded.drawn


def assert_same(found: list[Drawn], expected: list[Drawn]) -> None:
    """But for the memory of the source, which a learner keeps from its own draws alone."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        for mine, other in zip(ours, theirs, strict=True):
            for name in getattr(other, "__dataclass_fields__", {}).keys() - {"memory"}:
                a, b = getattr(mine, name), getattr(other, name)
                assert torch.equal(a, b) if isinstance(b, torch.Tensor) else a == b, name


@pytest.fixture(scope="module")
def workers(ray_session) -> list[Any]:
    return create_sample_workers(3, SentenceBleu(), scale_by_length=True)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_it_does_not_matter_how_many_draw(workers, small_corpus: Corpus, num_workers: int) -> None:
    here, there = Stage(small_corpus, SoftQ()), Stage(small_corpus, SoftQ())
    some = pickle.loads(pickle.dumps(workers[:num_workers]))  # as handles travel to learners
    drawn = there.run(there.remote(some))
    assert_same(drawn, here.run(here.local()))
    assert not torch.equal(drawn[0][0].targets, drawn[2][0].targets)


@pytest.mark.parametrize(
    ("algorithm", "max_staleness"),
    [(JOINT, 0), *((algorithm, 2) for algorithm in DRAWN_BY_WORKERS)],
    ids=lambda value: type(value).__name__ if isinstance(value, Algorithm) else str(value),
)
def test_it_does_not_matter_who_draws(
    workers, small_corpus: Corpus, algorithm: Algorithm, max_staleness: int
) -> None:
    """To the last bit, through updates that change a policy by much between two snapshots."""
    here, there = (Stage(small_corpus, algorithm, max_staleness) for _ in range(2))
    assert_same(there.run(there.remote(workers)), here.run(here.local()))


def test_how_far_ahead_is_drawn(workers, small_corpus: Corpus) -> None:
    """Nothing of a policy that is still to change, and never more than memory is meant for."""

    def ahead(algorithm: Algorithm, max_staleness: int) -> list[int]:
        source = Stage(small_corpus, algorithm, max_staleness).remote(workers)
        return [source.look_ahead(update) for update in range(7)]

    assert LOOK_AHEAD == 4
    assert ahead(SoftQ(), 2) == ahead(CriticTraining(), 2) == [4] * 7
    assert ahead(JOINT, 0) == [0] * 7
    assert ahead(JOINT, 2) == [2, 1, 0, 2, 1, 0, 2]
    assert ahead(JOINT, 6) == [4, 4, 4, 3, 2, 1, 0]


def test_an_evaluation_that_changes_the_snapshot_is_noticed(workers, small_corpus: Corpus) -> None:
    """A stage may return to networks it has accepted, between two snapshots: the workers learn of it."""
    stage = Stage(small_corpus, JOINT, max_staleness=2)
    snapshot = stage.networks.delayed_policy
    assert snapshot is not None
    source = stage.remote(workers)

    source.announce(stage.parts(0), MOMENT)
    drawn_from(source, stage, MOMENT)
    with torch.no_grad():
        snapshot.output.bias.add_(torch.arange(10) / 5)
    moment = Moment(1, "x", 1)
    source.announce(stage.parts(1), moment)
    assert_same(drawn_from(source, stage, moment), drawn_from(stage.local(), stage, moment))


def drawn_from(source: SampleSource, stage: Stage, moment: Moment) -> list[Drawn]:
    found: list[Any] = [source.draw(part, moment) for part in stage.parts(moment.update)]
    return [(samples, pending.result()) for samples, pending in found]


def test_killed_worker_is_restarted_and_draws_the_same_again(ray_session, small_corpus: Corpus) -> None:
    workers = create_sample_workers(2, SlowBleu(), scale_by_length=True)
    stage = Stage(small_corpus, JOINT)
    source = stage.remote(workers)
    _, victim = ray.get([worker.process_id.remote() for worker in workers])
    source.announce(stage.parts(0), MOMENT)
    time.sleep(0.3)  # both parts are being drawn
    os.kill(victim, signal.SIGKILL)
    assert_same(drawn_from(source, stage, MOMENT), drawn_from(stage.local(), stage, MOMENT))
    assert ray.get(workers[1].process_id.remote()) != victim
    assert source.waited_seconds > 0.5


def test_an_algorithm_that_needs_a_network_after_all_is_found_out(workers, small_corpus: Corpus) -> None:
    stage = Stage(small_corpus, Pretender())
    source = stage.remote(workers)
    source.announce(stage.parts(0), MOMENT)
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'encode'"):
        source.draw(stage.parts(0)[0], MOMENT)


def test_a_call_that_hangs_ends_in_a_clear_error(workers, small_corpus: Corpus) -> None:
    stage = Stage(small_corpus, JOINT)
    source = RemoteSource(JOINT, stage.networks, workers, timeout_seconds=1e-6)
    source.announce(stage.parts(0), MOMENT)
    with pytest.raises(Unfinished, match="samples were not there after 1e-06 s: a sample worker hangs"):
        source.draw(stage.parts(0)[0], MOMENT)


@pytest.mark.slow
def test_two_learners_and_two_sample_workers_equal_one_process(data: Path, tmp_path: Path) -> None:
    """One stage from scratch, as the start of the processes is what takes time."""
    options = [f"--data-dir={data}", "--network.hidden-size=8", "--network.embedding-size=8", "--quiet"]
    options += ["--decoding.max-length=8", "--decoding.beam-size=1", "--max-staleness=2"]
    options += ["--spg.max-updates=5", "--spg.evaluate-every=4", "--spg.batch-size=10"]
    apart = ["--num-learners=2", "--num-sample-workers=2", "--num-reward-workers=1", "--sampling=remote"]
    folders = [tmp_path / name / "run" for name in ("alone", "together")]
    assert main(RECIPE, None, [*options, "--num-learners=0", f"--output-dir={folders[0]}"]) == 0
    command = [sys.executable, "workflows/spg.py", *options, *apart, f"--output-dir={folders[1]}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    alone, together = (json.loads((folder / "result.json").read_text()) for folder in folders)
    assert_equal_but_for_rounding(together, alone, "spg")
    assert together["stages"][0]["reward_wait_share"] > 0


def test_at_least_one_worker(small_corpus: Corpus) -> None:
    with pytest.raises(ValueError, match="at least one sample worker"):
        Stage(small_corpus, SoftQ()).remote([])
    with pytest.raises(ValueError, match="num_workers must be at least 1, not 0"):
        create_sample_workers(0, SentenceBleu(), scale_by_length=True)
