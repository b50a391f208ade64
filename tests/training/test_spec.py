"""A schedule in segments: with the same settings it equals the whole one, and each may have its own."""

from pathlib import Path
from typing import Any

import pytest
import torch

from raysq.algorithms import Mle
from raysq.config import DecodingConfig, NetworkConfig, UserError
from raysq.data.shards import Corpus
from raysq.rewards import LocalScorer, SentenceBleu
from raysq.rewards.settings import RewardSettings
from raysq.training import checkpoint, journal
from raysq.training.collective import Collective
from raysq.training.samples import LocalSource
from raysq.training.spec import StageSpec
from raysq.training.stage import Surroundings, run_stage

ALGORITHM = Mle(optimizer="adam", learning_rate=0.02, batch_size=9, evaluate_every=3, max_updates=18)


class Steady:
    """An evaluator to whom every state is as good."""

    reward, decoding = RewardSettings(), DecodingConfig()

    def policy_scores(self, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], list[str]]:
        return {"bleu": 1.0}, []


@pytest.fixture
def around(small_corpus: Corpus) -> Surroundings:
    reward = SentenceBleu()
    evaluator: Any = Steady()
    return Surroundings(
        corpus=small_corpus,
        network=NetworkConfig(embedding_size=6, hidden_size=6, init_range=0.7, dropout=0.3),
        evaluator=evaluator,
        make_source=lambda algorithm, nets: LocalSource(algorithm, nets, reward, LocalScorer(reward)),
        collective=Collective(),
        device="cpu",
        checkpoint_seconds=1e9,
    )


def last(folder: Path) -> checkpoint.Checkpoint:
    saved = checkpoint.latest(folder / "checkpoints")
    assert saved is not None
    return saved


def test_segments_with_the_same_settings_equal_the_whole_schedule(
    around: Surroundings, tmp_path: Path
) -> None:
    """Networks, optimiser, batches and dropout; across an epoch's end, too."""
    run_stage(StageSpec("x", ALGORITHM, tmp_path / "whole", 1), around)
    before = None
    for until in (6, 7, 18):
        folder = tmp_path / f"to {until}"
        result = run_stage(StageSpec("x", ALGORITHM, folder, 1, until=until, continues=before), around)
        assert result["updates"] == until
        assert result["best_update"] == until  # of its own evaluations, an equal score being no worse
        before = folder
    whole, parts = last(tmp_path / "whole").tensors, last(tmp_path / "to 18").tensors
    assert any(name.startswith("optimizer.") for name in whole)
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(parts[name], value), name
    records = journal.read(tmp_path / "to 18" / "journal.jsonl")[0]
    assert min(record.step for record in records) > 7  # what came before is in the folders before


def test_a_segment_may_have_other_settings(around: Surroundings, tmp_path: Path) -> None:
    """They hold from its first update on: without steps nothing moves."""
    run_stage(StageSpec("x", ALGORITHM, tmp_path / "a", 1, until=6), around)
    still = ALGORITHM.model_copy(update={"learning_rate": 1e-30})
    run_stage(StageSpec("x", still, tmp_path / "b", 1, until=12, continues=tmp_path / "a"), around)
    first, second = last(tmp_path / "a"), last(tmp_path / "b")
    assert (first.step, second.step) == (6, 12)
    for name, value in first.tensors.items():
        if name.startswith("policy."):
            assert torch.equal(second.tensors[name], value), name


def test_a_segment_without_the_one_before_is_a_mistake(around: Surroundings, tmp_path: Path) -> None:
    spec = StageSpec("x", ALGORITHM, tmp_path / "b", 1, until=12, continues=tmp_path / "gone")
    with pytest.raises(UserError, match="gone has no checkpoint to go on from"):
        run_stage(spec, around)
