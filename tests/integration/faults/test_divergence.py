"""A training that goes wrong: it ends as diverged and says where, its best checkpoint is kept and scored."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from raysq.algorithms import Algorithm, Mle, Networks, Reinforce
from raysq.algorithms.moment import Moment
from raysq.config import DecodingConfig, NetworkConfig
from raysq.data.shards import Corpus
from raysq.evaluation import Evaluator
from raysq.rewards import LocalScorer, SentenceBleu
from raysq.rewards.scoring import ScoredRewards
from raysq.rewards.settings import RewardSettings
from raysq.training import checkpoint
from raysq.training.collective import Collective
from raysq.training.order import Order
from raysq.training.samples import LocalSource
from raysq.training.spec import StageSpec
from raysq.training.stage import Surroundings, run_stage
from raysq.types import Batch, Rewards
from raysq.workflow import main
from workflows import reinforce

pytestmark = pytest.mark.faults

NETWORK = NetworkConfig(embedding_size=6, hidden_size=6, init_range=0.7)
MLE = Mle(optimizer="adam", learning_rate=0.02, batch_size=9, evaluate_every=20, max_updates=20)
ALGORITHM = Reinforce(learning_rate=0.01, batch_size=9, evaluate_every=2, max_updates=12)
POISONED = 7
"""The update whose rewards are spoilt."""


@dataclass
class Poisoned:
    """A source whose rewards are multiplied by something at one update."""

    source: LocalSource
    factor: float
    waited_seconds: float = 0.0

    def look_ahead(self, update: int) -> int:
        return 0

    def announce(self, parts: Sequence[Batch], moment: Moment) -> None:
        self.source.announce(parts, moment)

    def draw(self, part: Batch, moment: Moment) -> Any:
        samples, pending = self.source.draw(part, moment)
        if pending is None or moment.update != POISONED:
            return samples, pending
        rewards = pending.result()
        spoilt = Rewards(rewards.sequence * self.factor, rewards.token * self.factor, rewards.scale)
        return samples, ScoredRewards(spoilt, 0.0)


class Scripted:
    """The evaluator, but for what it says of the dev split: at updates 0, 2, 4 .."""

    def __init__(self, evaluator: Evaluator, dev: Sequence[dict[str, float]]) -> None:
        self.evaluator, self.dev = evaluator, iter(dev)
        self.decoding, self.reward = evaluator.decoding, evaluator.reward

    def policy_scores(self, policy: Any, split: str, *, closing: bool = False) -> Any:
        found, texts = self.evaluator.policy_scores(policy, split, closing=closing)  # type: ignore[arg-type]
        return (found if closing else found | next(self.dev)), texts


@dataclass(frozen=True)
class Case:
    """How a training goes wrong, and what is said of it."""

    said: str
    update: int
    best_update: int
    factor: float = 1.0
    dev: Sequence[dict[str, float]] = ()


RISING = [{"bleu": 10.0 + k, "sample_bleu": 8.0} for k in range(7)]
CASES = {
    "loss": Case("loss term policy is nan", 7, 6, factor=math.nan),
    "infinite loss": Case("loss term policy is inf", 7, 6, factor=3e38),
    "gradient": Case("gradient norm of the policy is ", 7, 6, factor=1e7),
    "reward collapse": Case(
        "dev sample_bleu is 0.79, under a tenth of its first (8.00)",
        5,
        4,
        dev=[*RISING[:3], {"bleu": 1.0, "sample_bleu": 0.79}],
    ),
    "score collapse": Case(
        "dev bleu fell under half of its best (10.00) twice",
        3,
        0,
        dev=[RISING[0], *2 * [{"bleu": 4.9, "sample_bleu": 8.0}]],
    ),
    "score": Case("dev bleu is nan", 3, 2, dev=[*RISING[:2], {"bleu": math.nan, "sample_bleu": 8.0}]),
}


@pytest.fixture(scope="module")
def actor(small_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a stage whose policy is started from."""
    folder = tmp_path_factory.mktemp("actor") / "mle"
    run_stage(StageSpec("mle", MLE, folder, seed=1), surroundings(small_corpus, Collective(), Case("", 0, 0)))
    return folder


def surroundings(corpus: Corpus, collective: Collective, case: Case) -> Surroundings:
    def make_source(algorithm: Algorithm, networks: Networks) -> Any:
        function = SentenceBleu()
        return Poisoned(LocalSource(algorithm, networks, function, LocalScorer(function)), case.factor)

    decoding = DecodingConfig(beam_size=1, max_length=8)
    evaluator: Any = Evaluator(corpus, decoding, collective, "cpu", 1, RewardSettings())
    if case.said:
        evaluator = Scripted(evaluator, case.dev or RISING)
    return Surroundings(
        corpus=corpus,
        network=NETWORK,
        evaluator=evaluator,
        make_source=make_source,
        collective=collective,
        device="cpu",
        checkpoint_seconds=1e9,
    )


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("num_learners", [1, 2])
def test_it_ends_where_it_went_wrong_and_keeps_the_best(
    small_corpus: Corpus, actor: Path, tmp_path: Path, run_ranks: Any, num_learners: int, name: str
) -> None:
    """At the same update whether one learner or two share the batch."""
    case, folder = CASES[name], tmp_path / "stage"
    spec = StageSpec("reinforce", ALGORITHM, folder, seed=1, policy_from=actor)

    def train(collective: Collective) -> dict[str, Any]:
        return run_stage(spec, surroundings(small_corpus, collective, case))

    for result in run_ranks(num_learners, train):
        ids = Order(small_corpus.splits["train"], 9, 1, Collective(), 1).example_ids(case.update).tolist()
        assert (result["state"], result["diverged_on"]) == ("diverged", ids)
        said, _, where = result["stopped_by"].rpartition(" at update ")
        assert said.startswith(case.said)
        named = ", ".join(map(str, ids[:8]))
        assert where == f"{case.update} (training examples {named})"
        assert result["best_update"] == case.best_update
        assert result["updates"] == (case.update if "dev" not in case.said else case.update + 1)
        assert result["test"]["bleu"] >= 0
    best = checkpoint.best(folder / "checkpoints")
    assert best is not None
    assert best.step == case.best_update
    assert all(bool(tensor.isfinite().all()) for tensor in best.tensors.values())
    written = json.loads((folder / "result.json").read_text())
    assert [written[key] for key in ("stopped_by", "diverged_on")] == [result["stopped_by"], ids]
    assert len((folder / "hypotheses" / "test.txt").read_text().splitlines()) == 5


def test_a_policy_whose_probabilities_are_no_numbers_is_not_decoded(
    small_corpus: Corpus, actor: Path, tmp_path: Path
) -> None:
    """What an update left finite can still overflow in the evaluation."""
    huge = ALGORITHM.model_copy(update={"learning_rate": 1e38, "evaluate_every": 1})
    spec = StageSpec("reinforce", huge, tmp_path / "stage", seed=1, policy_from=actor)
    result = run_stage(spec, surroundings(small_corpus, Collective(), Case("", 0, 0)))
    assert result["stopped_by"].startswith("on dev the words' probabilities are not finite at update 0 (")
    assert (result["state"], result["best_update"], result["updates"]) == ("diverged", 0, 1)
    kept, started = (checkpoint.best(f / "checkpoints") for f in (tmp_path / "stage", actor))
    assert kept is not None
    assert started is not None
    for key, tensor in kept.tensors.items():
        if key.startswith("policy."):
            assert torch.equal(tensor, started.tensors[key])


def test_a_command_that_diverged_says_so_and_ends_with_status_3(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--num-learners=0", "--threads-per-learner=1", "--quiet", "--decoding.max-length=12"]
    options += ["--network.hidden-size=8", "--network.embedding-size=8", "--decoding.beam-size=1"]
    options += ["--mle.max-updates=2", "--mle.evaluate-every=2", f"--data-dir={data}"]
    options += ["--reinforce.learning-rate=1e38", "--reinforce.evaluate-every=5"]
    assert main(reinforce.RECIPE, None, [*options, f"--output-dir={tmp_path / 'run'}"]) == 3
    _, stage = json.loads((tmp_path / "run" / "result.json").read_text())["stages"]
    assert (stage["state"], stage["best_update"]) == ("diverged", 0)
    assert len(stage["diverged_on"]) == 50
    assert capsys.readouterr().err == (
        f"stage reinforce diverged: {stage['stopped_by']}; its best checkpoint, of update 0, was kept\n"
    )
