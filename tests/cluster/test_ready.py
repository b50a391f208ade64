from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

from raysq.algorithms import Mle
from raysq.cluster.ready import Outcome, ReadyStages, Work
from raysq.config import DecodingConfig, NetworkConfig
from raysq.rewards.settings import RewardSettings
from raysq.training.job import Job
from raysq.training.spec import StageSpec


def works(store: Path, *stages: tuple[tuple[int, ...], float]) -> list[Work]:
    """Stages by the places of their parents and the time to the end."""
    made = []
    for place, (parents, remaining) in enumerate(stages):
        job = Job(
            stages=(StageSpec("mle", Mle(), store / f"stage{place}", seed=1),),
            data_dir=store,
            network=NetworkConfig(),
            decoding=DecodingConfig(),
            reward=RewardSettings(),
            checkpoint_seconds=1.0,
            device="cpu",
            threads=1,
        )
        made.append(Work(job, parents, remaining))
    return made


def finish(ready: ReadyStages, trial: str, work: Work, state: str = "finished", *, kept: bool = True) -> None:
    if kept:
        folder = work.job.stages[0].folder
        folder.mkdir(parents=True)
        (folder / "result.json").touch()
    ready.on_trial_complete(trial, {"state": state, "reason": "because"})


def test_the_longest_way_goes_first_and_children_wait(tmp_path: Path) -> None:
    some = works(tmp_path, ((), 3.0), ((), 9.0), ((0,), 1.0), ((1,), 5.0), ((2, 3), 0.5))
    changes: list[tuple[int, Outcome | None]] = []
    ready = ReadyStages(some, on_change=lambda place, outcome: changes.append((place, outcome)))
    assert ready.suggest("a") == {"place": 1}
    assert ready.suggest("b") == {"place": 0}
    assert ready.suggest("c") is None
    finish(ready, "b", some[0])
    assert ready.suggest("c") == {"place": 2}
    finish(ready, "a", some[1])
    assert ready.suggest("d") == {"place": 3}
    finish(ready, "c", some[2])
    assert ready.suggest("e") is None
    ready.begun("d")
    finish(ready, "d", some[3])
    assert ready.suggest("e") == {"place": 4}
    finish(ready, "e", some[4])
    assert ready.suggest("f") == Searcher.FINISHED
    assert [outcome.state for outcome in ready.outcomes()] == ["finished"] * 5
    assert changes[3] == (3, None)
    assert changes[4] == (3, Outcome("finished", "because"))


@pytest.mark.parametrize(
    ("state", "kept", "runs"),
    [("diverged", True, True), ("diverged", False, False), ("failed", False, False)],
)
def test_what_starts_from_nothing_is_not_run_and_the_others_go_on(
    tmp_path: Path, state: str, kept: bool, runs: bool
) -> None:
    """A stage that diverged with a best checkpoint is something to start from."""
    some = works(tmp_path, ((), 2.0), ((), 1.0), ((0,), 1.0), ((2,), 1.0))
    ready = ReadyStages(some)
    ready.suggest("a")
    finish(ready, "a", some[0], state, kept=kept)
    ready.suggest("b")
    finish(ready, "b", some[1]) if not runs else None
    states = [outcome.state for outcome in ready.outcomes()]
    if runs:
        assert ready.suggest("c") == {"place": 2}
    else:
        assert ready.suggest("c") == Searcher.FINISHED
        assert states == [state, "finished", "not run", "not run"]
        assert ready.outcomes()[3].reason == "mle not run"


def test_a_stage_that_fails_is_suggested_again_then_recorded_with_its_reason(tmp_path: Path) -> None:
    changes: list[Any] = []
    some = works(tmp_path, ((), 1.0), ((0,), 1.0))
    ready = ReadyStages(some, retries=1, on_change=lambda place, outcome: changes.append((place, outcome)))

    def fail(trial: str, reason: str) -> None:
        ready.on_trial_complete(trial, error=True)  # as Tune does, in this order
        ready.failed(trial, reason)

    assert ready.suggest("a") == {"place": 0}
    fail("a", "a node was lost")
    assert changes == []
    assert ready.suggest("b") == {"place": 0}
    assert ready.suggest("c") is None
    fail("b", "ValueError: x")
    assert ready.suggest("c") == Searcher.FINISHED
    failed, not_run = Outcome("failed", "ValueError: x"), Outcome("not run", "mle failed")
    assert changes == [(0, failed), (1, not_run)]
    assert ready.outcomes() == [failed, not_run]


def test_a_trial_that_ends_without_an_outcome_was_stopped(tmp_path: Path) -> None:
    ready = ReadyStages(works(tmp_path, ((), 1.0)))
    ready.suggest("a")
    ready.on_trial_complete("a", {"epoch": 2.5, "score": 1.0})
    assert ready.outcomes() == [Outcome("stopped", "stopped by the scheduler after 2.5 epochs")]
