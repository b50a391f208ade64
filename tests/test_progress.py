import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from raysq import progress
from raysq.algorithms import ActorCritic, Algorithm, Mle
from raysq.logs import sender
from raysq.progress import Pace, Progress
from raysq.recipe import PlannedStage
from raysq.training.journal import Record
from raysq.training.spec import StageSpec

BLIND = {"dev/bleu": 20.0, "dev/td_error": 0.5, "dev/explained": 0.05, "dev/correlation": 0.1}


def stage(run_id: str, name: str, algorithm: Algorithm) -> PlannedStage:
    spec = StageSpec(name, algorithm, Path("folder"), seed=1)
    return PlannedStage(spec, "identity", "train", {"run_id": run_id})


STAGES = [stage("r1", "mle", Mle(max_updates=100)), stage("r2", "erac", ActorCritic())]


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=made.monotonic))
    return made


@pytest.fixture
def shown() -> Callable[..., str]:
    """What is printed for some records (run id, step, metrics and perhaps time)."""

    def show(*records: Any, terminal: bool = False, quiet: bool = False, num_learners: int = 1) -> str:
        file = io.StringIO()
        console = Console(file=file, force_terminal=terminal, quiet=quiet, width=60, color_system=None)
        display = Progress(console, STAGES, 500, num_learners)
        for run_id, step, metrics, *at in records:
            display.show(run_id, Record(step, at[0] if at else 0.0, metrics))
        display.close()
        return file.getvalue()

    return show


def test_plain_lines_from_time_to_time(clock: Clock) -> None:
    file = io.StringIO()
    display = Progress(Console(file=file, width=60), STAGES, num_examples=500)
    for seconds in (9, 1, 9, 1):
        clock.now += seconds
        numbers = {"train/nll": clock.now, "train/tokens_per_second": 1234.5, "train/q": 1.0}
        display.show("r1", Record(int(clock.now - 1000), 2 * clock.now, numbers))
    assert file.getvalue() == (
        "mle update 10 of 100 (at most 3 min left): loss 1010.000, 1234 tokens/s\n"
        "mle update 20 of 100 (at most 3 min left): loss 1020.000, 1234 tokens/s\n"
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(1, "99 s"), (10, "16 min"), (1000, "28 h"), (10000, "11 days")],
)
def test_what_is_left_is_told_in_a_unit_that_fits(seconds: float, said: str) -> None:
    pace = Pace(100)
    assert pace.said(Record(0, 5.0, {})) == "update 0 of 100"
    assert pace.said(Record(1, 5.0 + seconds, {})) == f"update 1 of 100 (at most {said} left)"
    assert pace.said(Record(100, 1e9, {})) == "update 100 of 100 (at most 0 s left)"


def test_learners_that_start_again_are_timed_afresh() -> None:
    pace = Pace(100)
    pace.said(Record(50, 0.0, {}))
    assert pace.said(Record(40, 70.0, {})) == "update 40 of 100"
    assert pace.said(Record(50, 80.0, {})) == "update 50 of 100 (at most 50 s left)"


def test_each_change_of_the_number_of_learners_is_one_line(shown: Callable[..., str]) -> None:
    counts = [(0, 2), (40, 1), (40, 1), (60, 2)]
    said = shown(*(("r1", step, {"learners": float(count)}) for step, count in counts), num_learners=2)
    assert said == (
        "mle update 40: goes on with 1 of 2 learners\nmle update 60: goes on with 2 of 2 learners\n"
    )


def test_a_line_is_about_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    console = Console(file=io.StringIO())
    display = Progress(console, STAGES, num_examples=500)
    monkeypatch.setattr(console, "print", lambda *args, **options: found.append(sender().stage))
    display.show("r2", Record(0, 0.0, {"dev/explained": 0.5}))
    display.show("r1", Record(0, 0.0, {"learners": 2.0}))
    assert found == ["erac", "mle"]


def test_evaluations_are_always_shown(clock: Clock, shown: Callable[..., str]) -> None:
    lines = shown(
        ("r1", 20, {"train/nll": 3.0}),
        ("r1", 40, {"dev/bleu": 12.345, "dev/sample_bleu": 7.0, "dev/perplexity": 9.876, "epoch": 1.0}),
        ("r2", 0, {"dev/bleu": 20.0, "dev/explained": 0.5}),
    )
    assert lines == (
        "mle update 40 of 100: dev BLEU 12.35, sample BLEU 7.00, perplexity 9.88\n"
        "erac update 0 of 300: dev BLEU 20.00, explained 0.50\n"
    )


def test_a_blind_critic_is_told_before_the_first_update_alone(shown: Callable[..., str]) -> None:
    first, warning, second, end = shown(("r2", 0, BLIND), ("r2", 250, BLIND)).split("\n")
    assert first.startswith("erac update 0 of 300: dev BLEU 20.00")
    assert warning.startswith("warning: the critic explains 5% of the variance of the dev returns, less than")
    assert second.startswith("erac update 250 of 300: ")
    assert end == ""


def test_quiet_prints_nothing(shown: Callable[..., str]) -> None:
    for terminal in (False, True):
        assert shown(("r2", 0, BLIND), terminal=terminal, quiet=True) == ""


def test_a_terminal_gets_a_bar_and_the_evaluations(shown: Callable[..., str]) -> None:
    text = shown(("r1", 40, {"train/nll": 3.0}), ("r1", 50, {"dev/bleu": 12.0}), terminal=True)
    assert "50/100" in text
    assert "mle update 50 of 100: dev BLEU 12.00" in text
    assert "mle update 40" not in text
