from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysq.algorithms import ALGORITHMS, ActorCritic, Algorithm, CriticTraining, Mle, Networks, SoftQ, Vaml
from raysq.algorithms.moment import Moment
from raysq.config import DecodingConfig, NetworkConfig
from raysq.data.batches import collate
from raysq.data.shards import Corpus
from raysq.rewards import LocalScorer, SentenceBleu
from raysq.rewards.settings import RewardSettings
from raysq.training import checkpoint
from raysq.training.collective import Collective
from raysq.training.job import Job, run_job
from raysq.training.samples import LocalSource, drawn_by_workers, draws_from_policy, staleness
from raysq.training.spec import StageSpec
from raysq.training.state import Progress, StageState, make_networks
from raysq.training.step import Step
from raysq.types import Batch, Samples

NETWORK = NetworkConfig(embedding_size=6, hidden_size=6, init_range=0.7, dropout=0.3)
VOCABULARIES = {"source": "1" * 64, "target": "2" * 64}
TIMES = {"seconds", "tokens_per_second", "reward_wait_share"}
JOINT = ActorCritic(learning_rate=0.05, max_length=6)


class Stage:
    """A stage at its start, and its updates."""

    def __init__(self, corpus: Corpus, algorithm: Algorithm, max_staleness: int, seed: int = 1) -> None:
        self.corpus = corpus
        self.networks = make_networks(
            corpus,
            NETWORK,
            algorithm,
            {"policy": None, "critic": None},
            seed=seed,
            stage="x",
            device="cpu",
            max_staleness=max_staleness,
        )
        scorer = LocalScorer(SentenceBleu())
        self.source = LocalSource(algorithm, self.networks, SentenceBleu(), scorer, max_staleness)
        self.step = Step(algorithm, self.networks, self.source, Collective())
        self.state = StageState(self.networks, self.step.optimizers, Progress(), VOCABULARIES)

    def batch(self, update: int) -> Batch:
        return collate(self.corpus.splits["train"], np.arange(update, update + 5))

    def announce(self, update: int) -> None:
        self.source.announce([self.batch(update)], Moment(1, "x", update))

    def run(self, update: int) -> None:
        self.step.run([self.batch(update)], Moment(1, "x", update))

    def drawn(self, update: int, networks: Networks | None = None) -> Samples:
        """What the algorithm draws at an update, from these networks or from its own."""
        algorithm, moment = self.step.algorithm, Moment(1, "x", update)
        return algorithm.draw(self.batch(update), networks or self.networks, SentenceBleu(), moment)


def assert_same(found: Samples, expected: Samples) -> None:
    for name in Samples.__dataclass_fields__.keys() - {"memory"}:  # of the learner's own encoder, no sample
        ours, theirs = getattr(found, name), getattr(expected, name)
        same = torch.equal(ours, theirs) if isinstance(theirs, torch.Tensor) else ours == theirs
        assert same, name


def frozen(stage: Stage) -> Networks:
    """The policy as it is now, for good."""
    policy = make_networks(
        stage.corpus, NETWORK, Mle(), {"policy": None, "critic": None}, seed=1, stage="x", device="cpu"
    ).policy
    policy.load_state_dict(stage.networks.policy.state_dict())
    return Networks(policy)


# -- who draws, and from what


def test_workers_draw_what_takes_time_and_needs_no_changing_network() -> None:
    for algorithm, alone, asked in (
        (Mle(), False, False),
        (SoftQ(), True, True),
        (Vaml(), True, True),
        (Vaml(samples_from="oracle"), False, False),  # workers have the policy, no oracle
        (CriticTraining(), False, True),
        (ActorCritic(), False, True),
    ):
        assert drawn_by_workers(algorithm, "learner") == alone, algorithm
        assert drawn_by_workers(algorithm, "remote") == asked, algorithm


def test_only_what_comes_from_a_trained_policy_gets_stale() -> None:
    assert [staleness(a, 3) for a in (Mle(), SoftQ(), Vaml(), CriticTraining(), ActorCritic())] == [
        0, 0, 0, 0, 3,
    ]  # fmt: skip
    assert staleness(ActorCritic(), 0) == 0


@pytest.mark.parametrize("kind", ALGORITHMS, ids=lambda kind: kind.__name__)
def test_an_algorithm_draws_from_the_sampling_policy_alone(
    small_corpus: Corpus, kind: type[Algorithm]
) -> None:
    """So that a snapshot of it, or a worker that has nothing else, makes the same samples."""
    stage = Stage(small_corpus, kind(), 0)
    policy: Any = stage.networks.policy
    if not draws_from_policy(stage.step.algorithm):
        policy = None
    nothing: Any = None
    assert_same(stage.drawn(3, Networks(nothing, delayed_policy=policy)), stage.drawn(3))


# -- the rule of the snapshot


@pytest.mark.parametrize("max_staleness", [0, 2])
def test_samples_come_from_the_snapshot_of_the_last_update_that_takes_one(
    small_corpus: Corpus, max_staleness: int
) -> None:
    stage = Stage(small_corpus, JOINT, max_staleness)
    origins = [0, 0, 0, 3, 3, 3, 6] if max_staleness else range(7)
    policies = []
    for update, origin in enumerate(origins):
        policies.append(frozen(stage))
        stage.announce(update)
        found = stage.drawn(update)
        assert_same(found, stage.drawn(update, policies[origin]))
        own = stage.drawn(update, policies[update])
        assert found.log_probs is not None
        assert own.log_probs is not None
        assert torch.equal(found.log_probs, own.log_probs) == (update == origin)  # the policy does change
        stage.run(update)
    assert (stage.networks.delayed_policy is None) == (max_staleness == 0)


def test_a_stage_that_goes_on_between_two_snapshots_has_the_same_one(
    small_corpus: Corpus, tmp_path: Path
) -> None:
    def parameters(stage: Stage) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in stage.state.tensors().items()}

    stage = Stage(small_corpus, JOINT, max_staleness=2)
    for update in range(2):
        stage.announce(update)
        stage.run(update)
    checkpoint.save(tmp_path, 2, stage.state.tensors(), stage.state.record())
    other = Stage(small_corpus, JOINT, max_staleness=2, seed=9)
    saved = checkpoint.latest(tmp_path)
    assert saved is not None
    other.state.restore(saved)
    for update in range(2, 5):
        for one in (stage, other):
            one.announce(update)
            one.run(update)
    expected = parameters(stage)
    for name, tensor in parameters(other).items():
        assert torch.equal(tensor, expected[name]), name


# -- what the stage tells its source


class Recording:
    """A source that wants to know of many updates ahead, and what it was told and asked."""

    def __init__(self, inner: LocalSource, ahead: int) -> None:
        self.inner, self.ahead, self.waited_seconds = inner, ahead, 0.0
        self.log: list[tuple[str, int]] = []

    def look_ahead(self, update: int) -> int:
        return self.ahead

    def announce(self, parts: Sequence[Batch], moment: Moment) -> None:
        self.inner.announce(parts, moment)
        self.log.append(("announce", moment.update))

    def draw(self, part: Batch, moment: Moment) -> Any:
        self.log.append(("draw", moment.update))
        self.waited_seconds += 5.0
        return self.inner.draw(part, moment)


@pytest.fixture
def train(small_corpus: Corpus, tmp_path: Path) -> Callable[..., tuple[Recording, dict[str, Any]]]:
    """A stage of 7 updates with evaluations at 3, 6 and 7."""

    def run(ahead: int) -> tuple[Recording, dict[str, Any]]:
        algorithm = JOINT.model_copy(update={"evaluate_every": 3, "max_updates": 7, "batch_size": 15})
        made: list[Recording] = []

        def make(algorithm: Algorithm, networks: Networks) -> Recording:
            scorer = LocalScorer(SentenceBleu())
            made.append(Recording(LocalSource(algorithm, networks, SentenceBleu(), scorer), ahead))
            return made[0]

        job = Job(
            stages=(StageSpec("x", algorithm, tmp_path / f"ahead{ahead}", seed=1),),
            data_dir=small_corpus.folder,
            network=NETWORK,
            decoding=DecodingConfig(beam_size=1, max_length=6),
            reward=RewardSettings(),
            checkpoint_seconds=1e9,
            device="cpu",
            threads=1,
        )
        (result,) = run_job(job, make, Collective(), lambda metrics, folder: None)
        return made[0], result

    return run


def test_updates_are_announced_ahead_but_never_past_an_evaluation(train: Any) -> None:
    def told(ahead: int) -> str:
        source, _ = train(ahead)
        return " ".join(f"{'+' if what == 'announce' else ''}{update}" for what, update in source.log)

    assert told(0) == "+0 0 +1 1 +2 2 +3 3 +4 4 +5 5 +6 6"
    assert told(1) == "+0 +1 0 +2 1 2 +3 +4 3 +5 4 5 +6 6"
    assert told(9) == "+0 +1 +2 0 1 2 +3 +4 +5 3 4 5 +6 6"


def test_looking_ahead_changes_no_number(train: Any) -> None:
    results = [train(ahead)[1] for ahead in (0, 9)]
    kept = [{k: v for k, v in r.items() if k not in TIMES} for r in results]
    assert kept[0] == kept[1]


def test_waiting_for_samples_counts_as_waiting(train: Any) -> None:
    """5 s for each of 7 updates, by the source's own clock."""
    _, result = train(0)
    assert result["reward_wait_share"] * result["seconds"] > 5
