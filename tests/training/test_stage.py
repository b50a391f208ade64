"""A stage that restores, through the loop that trains: against a loop by hand, and interrupted anywhere."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from raysq.algorithms import Algorithm, Interpolation, Networks
from raysq.algorithms.moment import Moment
from raysq.config import DecodingConfig, NetworkConfig
from raysq.data.batches import collate, epoch_batches
from raysq.data.shards import Corpus
from raysq.rewards import LocalScorer, SentenceBleu
from raysq.rewards.settings import RewardSettings
from raysq.training import checkpoint, journal
from raysq.training.collective import Collective
from raysq.training.samples import LocalSource
from raysq.training.spec import StageSpec
from raysq.training.stage import Surroundings, run_stage
from raysq.training.state import StageState, make_networks
from raysq.training.step import Step
from raysq.types import Batch

NETWORK = NetworkConfig(embedding_size=6, hidden_size=6, init_range=0.7, dropout=0.3)
ALGORITHM = Interpolation(
    lambda_model=0.3,
    lambda_reward=0.2,
    lambda_truth=0.5,
    lambda_step=0.1,
    learning_rate=0.02,
    batch_size=9,
    evaluate_every=3,
    max_updates=18,
)
SCORES = [10.0, 9.0, 8.0, 7.0, 20.0, 19.0]
"""Dev scores after 3, 6, .. 18 updates."""
ACCEPTED = [True, False, True, False, True, False]
"""After a decay anything is accepted once."""
DECAYS = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]
"""Answered failures at each update."""


class Stopped(Exception):  # noqa: N818
    pass


class Script:
    """An evaluator that reads its scores off a list."""

    reward, decoding = RewardSettings(), DecodingConfig()

    def __init__(self, events: list[str], first: int = 0) -> None:
        self.events, self.scores = events, iter(SCORES[first:])

    def policy_scores(self, policy: Any, split: str, *, closing: bool = False) -> tuple[dict[str, Any], list]:
        self.events.append("score" if closing else "evaluate")
        return {"bleu": 0.0 if closing else next(self.scores)}, []


class Watched:
    """A source that likes to know of some updates ahead, writes down what it is asked, and may stop."""

    def __init__(self, source: LocalSource, events: list[str], ahead: int, stop_at: int) -> None:
        self.source, self.events, self.ahead, self.stop_at = source, events, ahead, stop_at
        self.waited_seconds = 0.0

    def look_ahead(self, update: int) -> int:
        return self.ahead

    def announce(self, parts: list[Batch], moment: Moment) -> None:
        self.events.append(f"announce {moment.update}")
        self.source.announce(parts, moment)

    def draw(self, part: Batch, moment: Moment) -> Any:
        if moment.update == self.stop_at:
            raise Stopped
        assert moment.decays == DECAYS[moment.update]
        self.events.append(f"draw {moment.update}")
        return self.source.draw(part, moment)


@pytest.fixture
def train(small_corpus: Corpus) -> Callable[..., dict[str, Any]]:
    """The stage in a folder from where it was left; gives its result."""

    def trained(
        folder: Path,
        *,
        events: list[str] | None = None,
        ahead: int = 0,
        evaluated: int = 0,
        stop: int = -1,
        checkpoint_seconds: float = 1e9,
        told: list[tuple[float, float]] | None = None,
        elastic: bool = False,
    ) -> dict[str, Any]:
        noted: list[str] = [] if events is None else events

        def make_source(algorithm: Algorithm, networks: Networks) -> Any:
            reward = SentenceBleu()
            return Watched(LocalSource(algorithm, networks, reward, LocalScorer(reward)), noted, ahead, stop)

        evaluator: Any = Script(noted, evaluated)
        surroundings = Surroundings(
            corpus=small_corpus,
            network=NETWORK,
            evaluator=evaluator,
            make_source=make_source,
            collective=Collective(),
            device="cpu",
            checkpoint_seconds=checkpoint_seconds,
            observe=lambda updates, tokens: None if told is None else told.append((updates, tokens)),
            elastic=elastic,
        )
        return run_stage(StageSpec("x", ALGORITHM, folder, seed=1), surroundings)

    return trained


def final_state(folder: Path) -> dict[str, Tensor]:
    """Networks and optimisers in the last checkpoint, and the accepted ones."""
    saved = checkpoint.latest(folder / "checkpoints")
    assert saved is not None
    assert saved.step == 18
    return saved.tensors


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.fixture(scope="module")
def by_hand(small_corpus: Corpus) -> dict[str, Tensor]:
    """The same updates, with a copy of everything made where a score is accepted and taken up where not."""
    networks = make_networks(
        small_corpus, NETWORK, ALGORITHM, {"policy": None, "critic": None}, seed=1, stage="x", device="cpu"
    )
    source = LocalSource(ALGORITHM, networks, SentenceBleu(), LocalScorer(SentenceBleu()))
    step = kept = Step(ALGORITHM, networks, source, Collective())
    split = small_corpus.splits["train"]
    for update in range(18):
        epoch, index = divmod(update, 5)
        ids = epoch_batches(split.source_lengths, split.target_lengths, 9, 1, epoch)[index]
        step.run([collate(split, ids)], Moment(1, "x", update, epoch, index, DECAYS[update]))
        if update % 3 == 2:
            if ACCEPTED[update // 3]:
                kept = copy.deepcopy(step)
            else:
                step = copy.deepcopy(kept)
    progress: Any = None
    state = StageState(step.networks, step.optimizers, progress, {})
    state.accept()
    return state.tensors()


def test_a_failure_leads_back_to_the_last_accepted_state(
    train: Any, by_hand: dict[str, Tensor], tmp_path: Path
) -> None:
    """Networks and optimiser; the updates go on with the next batch, and with one decay more."""
    result = train(tmp_path)
    assert (result["updates"], result["best_update"]) == (18, 15)
    assert result["scores"] == [[3 * (k + 1), score] for k, score in enumerate(SCORES)]
    assert any(name.startswith("optimizer.policy.") for name in by_hand)
    assert_same(final_state(tmp_path), by_hand)


@pytest.mark.parametrize("stop_at", [2, 3, 5, 6, 9, 12, 15, 17])
@pytest.mark.parametrize("checkpoint_seconds", [1e9, 0.0], ids=["by evaluation", "by update"])
def test_stopped_and_resumed_it_ends_in_the_same_state(
    train: Any, by_hand: dict[str, Tensor], tmp_path: Path, stop_at: int, checkpoint_seconds: float
) -> None:
    """From the last evaluation, or from the last update: then the accepted state is another one."""
    with pytest.raises(Stopped):
        train(tmp_path, stop=stop_at, checkpoint_seconds=checkpoint_seconds)
    result = train(tmp_path, evaluated=stop_at // 3)
    assert [score for _, score in result["scores"]] == SCORES
    assert_same(final_state(tmp_path), by_hand)


@pytest.mark.parametrize("ahead", [0, 1, 10])
def test_nothing_is_announced_from_beyond_an_evaluation(train: Any, tmp_path: Path, ahead: int) -> None:
    """Its verdict may change what is drawn."""
    events: list[str] = []
    train(tmp_path, events=events, ahead=ahead)
    expected: list[str] = []
    for first in range(0, 18, 3):
        a, d = ([f"{what} {first + k}" for k in range(3)] for what in ("announce", "draw"))
        expected += {
            0: [a[0], d[0], a[1], d[1], a[2], d[2]],
            1: [a[0], a[1], d[0], a[2], d[1], d[2]],
            10: [*a, *d],
        }[ahead]
        expected.append("evaluate")
    assert events == [*expected, "score", "score"]


def test_each_update_is_observed_once(train: Any, tmp_path: Path) -> None:
    told: list[tuple[float, float]] = []
    train(tmp_path, told=told)
    assert [updates for updates, _ in told] == [3.0] * 6  # at every evaluation
    saved = checkpoint.latest(tmp_path / "checkpoints")
    assert saved is not None
    assert sum(tokens for _, tokens in told) == saved.state["tokens"] > 0


@pytest.mark.parametrize("elastic", [False, True])
def test_where_learners_may_come_and_go_the_journal_has_their_number(
    train: Any, tmp_path: Path, elastic: bool
) -> None:
    with pytest.raises(Stopped):
        train(tmp_path, stop=7, checkpoint_seconds=0.0, elastic=elastic)
    train(tmp_path, evaluated=2, elastic=elastic)
    records, _ = journal.read(tmp_path / "journal.jsonl")
    found = [(r.step, r.metrics) for r in records if "learners" in r.metrics]
    assert found == ([(0, {"learners": 1.0}), (7, {"learners": 1.0})] if elastic else [])
