from pathlib import Path

import pytest

from raysq.training.step import Step
from tests.benchmarks import sizes, updates
from tests.benchmarks.problem import UPDATES, Measured, Problem
from tests.benchmarks.settings import BenchmarkSettings
from tests.benchmarks.updates import PHASES


@pytest.fixture(scope="module")
def settings() -> BenchmarkSettings:
    return BenchmarkSettings(
        output_dir=Path("unused"),
        device="cpu",
        vocabulary=(300,),
        hidden=(16,),
        batch_size=4,
        length=6,
        repeats=1,
    )


def test_rows_of_updates_in_both_precisions(
    settings: BenchmarkSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "UPDATES", UPDATES[1:3])
    rows = updates.run(settings)
    found = [(row.name, row.precision) for row in rows]
    names = ["critic_update", "erac_update", "vocabulary_mle", "vocabulary_erac"]
    assert found == [(name, precision) for name in names for precision in ("float32", "bfloat16")]
    for row in rows[:4]:
        assert row.suite == "updates"
        assert row.baseline == f"textbook_{row.name}"
        assert row.ratio == pytest.approx(row.baseline_median / row.median, rel=1e-6)
        assert 0 < row.numbers["valid_tokens"] < row.numbers["padded_tokens"]
        shares = [row.numbers[f"{phase}_share"] for phase in PHASES]
        assert all(share > 0 for share in shares)
        assert sum(shares) < 1
    exact, rounded = (row.numbers for row in rows if row.name == "critic_update")
    assert exact["valid_tokens"] == rounded["valid_tokens"]


@pytest.mark.parametrize("measured", UPDATES, ids=lambda measured: measured.name)
def test_both_forms_train_on_as_many_tokens(
    settings: BenchmarkSettings, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, seen = Problem(settings, measured, 300, 16), []
    draw = Step._draw
    monkeypatch.setattr(Step, "_draw", lambda *given, **kw: (seen.append(draw(*given, **kw)), seen[-1])[1])
    problem.ours("float32")()
    update, run = problem.textbook()
    run()
    assert update.samples is not None
    mine, theirs = seen[0][1].mask, update.samples.mask
    if measured.name != "interpolation_update":  # where policy and reward say when it ends
        assert mine.sum(1).tolist() == theirs.sum(1).tolist()
    assert len(set(mine.sum(1).tolist())) > 1


def test_sizes_are_those_asked_for(settings: BenchmarkSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(updates, "UPDATES", UPDATES[:1])
    rows = sizes.run(settings.model_copy(update={"vocabulary": (50, 100), "precision": "float32"}))
    assert {(row.suite, row.vocabulary, row.hidden) for row in rows} == {
        ("sizes", 50, 16),
        ("sizes", 100, 16),
    }
