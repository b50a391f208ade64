"""What a stage says at its end, and what it counts on the way: through the loop that trains."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from raysq.algorithms import ActorCritic, Algorithm, CriticTraining, Mle, Networks, Reinforce
from raysq.algorithms.moment import Moment
from raysq.config import DecodingConfig, NetworkConfig, flatten
from raysq.data.shards import Corpus
from raysq.evaluation import Evaluator
from raysq.rewards import LocalScorer, SentenceBleu
from raysq.rewards.settings import RewardSettings
from raysq.training import checkpoint, stage
from raysq.training.closing import account, closing_scores
from raysq.training.collective import Collective
from raysq.training.samples import NO_NETWORKS, LocalSource
from raysq.training.spec import StageSpec
from raysq.training.stage import Surroundings, run_stage
from raysq.training.state import Progress
from raysq.types import Batch

NETWORK = NetworkConfig(embedding_size=6, hidden_size=6, init_range=0.7, dropout=0.3)
SCHEDULE: dict[str, Any] = {"batch_size": 9, "evaluate_every": 3, "max_updates": 6}
ACTOR = Mle(**SCHEDULE)
JOINT = ActorCritic(**SCHEDULE, max_length=6, num_samples=2, learning_rate=0.01)


class Stopped(Exception):  # noqa: N818
    pass


class Script:
    """An evaluator that measures critics, but reads BLEU off a list."""

    def __init__(self, corpus: Corpus, bleu: Sequence[float]) -> None:
        evaluator = Evaluator(corpus, DecodingConfig(), Collective(), "cpu", 7, RewardSettings())
        self.reward, self.decoding = evaluator.reward, evaluator.decoding
        self.critic_scores, self.bleu = evaluator.critic_scores, iter(bleu)

    def policy_scores(self, policy: Any, split: str, *, closing: bool = False) -> tuple[dict[str, Any], list]:
        return {"bleu": 0.0 if closing else next(self.bleu)}, ["a text"]


class Stopping:
    """A source that may stop."""

    waited_seconds = 0.0

    def __init__(self, source: LocalSource, stop_at: int) -> None:
        self.source, self.stop_at = source, stop_at
        self.look_ahead, self.announce = source.look_ahead, source.announce

    def draw(self, part: Batch, moment: Moment) -> Any:
        if moment.update == self.stop_at:
            raise Stopped
        return self.source.draw(part, moment)


@pytest.fixture
def train(small_corpus: Corpus) -> Callable[..., dict[str, Any]]:
    """A stage in a folder from where it was left; gives its result."""

    def trained(
        algorithm: Algorithm,
        folder: Path,
        actor: Path | None = None,
        bleu: tuple[float, ...] = (1.0, 2.0, 3.0),
        stop_at: int = -1,
    ) -> dict[str, Any]:
        def make_source(algorithm: Algorithm, networks: Networks) -> Any:
            reward = SentenceBleu()
            return Stopping(LocalSource(algorithm, networks, reward, LocalScorer(reward)), stop_at)

        evaluator: Any = Script(small_corpus, bleu)
        around = Surroundings(
            corpus=small_corpus,
            network=NETWORK,
            evaluator=evaluator,
            make_source=make_source,
            collective=Collective(),
            device="cpu",
            checkpoint_seconds=1e9,
        )
        return run_stage(StageSpec("x", algorithm, folder, seed=1, policy_from=actor), around)

    return trained


@pytest.fixture
def actor(train: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "actor"
    train(ACTOR, folder)
    return folder


def journal(folder: Path) -> list[dict[str, Any]]:
    """The lines of evaluations: the update and what was noted."""
    lines = map(json.loads, (folder / "journal.jsonl").read_text().splitlines())
    return [line["metrics"] | {"step": line["step"]} for line in lines if "dev/bleu" in line["metrics"]]


def test_every_evaluation_says_what_was_spent(train: Any, actor: Path, tmp_path: Path) -> None:
    """40 examples are 5 batches of 8, with 2 samples of each; likelihood asks no reward."""
    result = train(JOINT, tmp_path / "joint", actor)
    lines = journal(tmp_path / "joint")
    assert [(line["step"], line["reward_calls"]) for line in lines] == [(0, 0), (3, 48), (6, 96)]
    assert result["reward_calls"] == 96
    seconds = [line["seconds"] for line in lines]
    assert 0 < seconds[0] < seconds[1] < seconds[2] <= result["seconds"] + 1e-3
    assert [line["reward_calls"] for line in journal(actor)] == [0, 0]


def test_noise_is_of_the_actor_and_of_the_best(train: Any, actor: Path, tmp_path: Path) -> None:
    """Where no update improved on the actor both are of it, also after other updates; else they differ."""
    algorithm = Reinforce(**SCHEDULE, num_samples=2, max_length=6, learning_rate=0.01)
    worse = train(algorithm, tmp_path / "worse", actor, bleu=(3.0, 2.0, 1.0))["gradient_noise"]
    assert worse["best"] == worse["first"]
    assert worse["first"]["relative"] > 0
    better = train(algorithm, tmp_path / "better", actor)["gradient_noise"]
    assert better["first"] == worse["first"]
    assert abs(better["best"]["variance"] / better["first"]["variance"] - 1) > 1e-3


def test_noise_where_there_is_no_actor_or_no_policy(train: Any, actor: Path, tmp_path: Path) -> None:
    of_actor = json.loads((actor / "result.json").read_text())["gradient_noise"]
    assert of_actor["first"] is None
    assert of_actor["best"]["examples"] == 8
    critic = train(CriticTraining(**SCHEDULE, max_length=6), tmp_path / "critic", actor)
    assert critic["gradient_noise"] is None


def test_what_was_measured_at_first_survives_an_interruption(train: Any, actor: Path, tmp_path: Path) -> None:
    whole = train(JOINT, tmp_path / "whole", actor)
    with pytest.raises(Stopped):
        train(JOINT, tmp_path / "stopped", actor, stop_at=4)
    resumed = train(JOINT, tmp_path / "stopped", actor, bleu=(3.0,))
    for name in ("gradient_noise", "reward_calls", "updates", "best_update"):
        assert resumed[name] == whole[name], name


def test_training_is_the_same_without_the_measurement(
    train: Any, actor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks, moving averages and optimisers of the last checkpoint, bit by bit."""
    train(JOINT, tmp_path / "with", actor)
    monkeypatch.setattr(stage, "gradient_noise", lambda *arguments: {})
    assert train(JOINT, tmp_path / "without", actor)["gradient_noise"] == {"first": {}, "best": {}}
    measured, plain = (checkpoint.latest(tmp_path / name / "checkpoints") for name in ("with", "without"))
    assert measured is not None
    assert plain is not None
    assert measured.step == plain.step == 6
    assert measured.tensors.keys() == plain.tensors.keys()
    assert any(name.startswith("optimizer.policy.") for name in plain.tensors)
    for name, tensor in plain.tensors.items():
        assert torch.equal(measured.tensors[name], tensor), name


def test_schedules_are_those_of_the_measured_update(
    train: Any, actor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of update 9, the best: epoch 1, batch 4, after one decay; on the same batch as at update 0."""
    seen: list[tuple[Moment, list[int]]] = []
    monkeypatch.setattr(
        stage,
        "gradient_noise",
        lambda algorithm, networks, reward, collective, parts, moment: seen.append(
            (moment, [i for part in parts for i in part.example_ids.tolist()])
        ),
    )
    algorithm = ACTOR.model_copy(update={"max_updates": 12})
    train(algorithm, tmp_path / "x", actor, bleu=(4.0, 3.0, 5.0, 6.0, 1.0))
    (first, ids), (best, same_ids) = seen
    assert first == Moment(1, "x", 0)
    assert best == Moment(1, "x", 9, epoch=1, update_of_epoch=4, decays=1)
    assert ids == same_ids


def test_a_closing_evaluation_tells_how_the_critic_is_calibrated(
    train: Any, actor: Path, tmp_path: Path
) -> None:
    result = train(JOINT, tmp_path / "joint", actor)
    over_all, *by_position = result["dev"]["calibration"]
    assert over_all["correlation"] == result["dev"]["correlation"]
    found = {str(row["position"]): row["correlation"] for row in by_position}
    assert found == {str(k): v for k, v in result["dev"]["correlation_by_position"].items()}
    assert json.loads((tmp_path / "joint" / "result.json").read_text())["dev"]["calibration"]


def test_hypotheses_are_written_by_who_has_a_place_for_them(small_corpus: Corpus, tmp_path: Path) -> None:
    evaluator: Any = Script(small_corpus, [])
    scores = closing_scores(ACTOR, evaluator, NO_NETWORKS, tmp_path / "texts")
    assert scores == {"dev": {"bleu": 0.0}, "test": {"bleu": 0.0}}
    for split in ("dev", "test"):
        assert (tmp_path / "texts" / f"{split}.txt").read_text() == "a text\n"
    assert closing_scores(ACTOR, evaluator, NO_NETWORKS, None) == scores


def test_a_policy_that_a_workflow_planned_has_a_card(train: Any, actor: Path, tmp_path: Path) -> None:
    """Before its result: what is finished has one. A critic has none."""
    assert not (actor / "README.md").exists()  # nobody said what it is
    told: dict[str, Any] = {"stage": "x", "algorithm": "Mle", "seed": 1, "version": "v", "run_id": "r"}
    told |= {"network": flatten(NETWORK), "decoding": {}, "data": "d", "settings": {"batch_size": 9}}
    told |= {"reward": {}, "parents": {}}
    for folder in (tmp_path / "planned", tmp_path / "critic"):
        folder.mkdir()
        (folder / "stage.json").write_text(json.dumps(told))
    train(ACTOR, tmp_path / "planned")
    card = (tmp_path / "planned" / "README.md").read_text().splitlines()
    assert card[0] == "# x on demo"
    assert "6 updates (all of 6 updates done), begun with parameters drawn at random." in "\n".join(card)
    assert "--x.batch-size 9" in card
    assert "| BLEU | 0.00 | 0.00 |" in card
    assert (tmp_path / "planned" / "README.md").stat().st_mtime_ns <= (
        (tmp_path / "planned" / "result.json").stat().st_mtime_ns
    )
    train(CriticTraining(**SCHEDULE, max_length=6), tmp_path / "critic", actor)
    assert (tmp_path / "critic" / "result.json").exists()
    assert not (tmp_path / "critic" / "README.md").exists()


def test_account() -> None:
    progress = Progress(update=6, best_update=3, tokens=90.0, update_seconds=4.0, seconds=7.5004)
    progress.waited_seconds, progress.reward_calls, progress.stopped_by = 1.0, 96.0, "all done"
    found = account("x", progress, batches_per_epoch=5)
    assert {k: found[k] for k in ("state", "epochs", "seconds", "reward_calls")} == {
        "state": "finished",
        "epochs": 1.2,
        "seconds": 7.5,
        "reward_calls": 96,
    }
    assert (found["tokens_per_second"], found["reward_wait_share"]) == (22.5, 0.25)
    progress.diverged, progress.diverged_on = True, [4, 2]
    found = account("x", progress, 5)
    assert (found["state"], found["diverged_on"]) == ("diverged", [4, 2])
