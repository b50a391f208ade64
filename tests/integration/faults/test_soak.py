"""What the soak's verdict rests on: its comparison notices any difference, and its lines are right."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raysq.training import checkpoint
from raysq.training.journal import Journal
from tests.integration.faults.conftest import Run
from tests.integration.faults.soak_comparison import difference, so_far
from tests.integration.faults.soak_memory import COLUMNS, fitted, lines
from tests.integration.faults.soak_report import report

UPDATES = {"mle": 40}


def make_run(
    place: Path, weight: float = 0.25, loss: float = 1.5, word: str = "eins", bleu: float = 30.5
) -> Run:
    """What a finished run of one stage leaves, as far as it is compared."""
    stage = place / "stages" / "mle-0123"
    with Journal(stage / "journal.jsonl") as journal:
        journal.write(20, {"train/loss": 2.5, "train/updates_per_second": 7.0})
        journal.write(40, {"train/loss": loss})
        journal.write(20, {"train/loss": 9.0})  # after a restart: the first record counts
    checkpoint.save(stage / "checkpoints", 40, {"w": torch.tensor([1.0, weight])}, {}, best=True)
    entry = {"name": "mle", "updates": 40, "state": "finished", "best_update": 40, "test": {"bleu": bleu}}
    entry |= {"scores": [], "dev": {}}
    (place / "run" / "hypotheses").mkdir(parents=True)
    for split in ("dev", "test"):
        (place / "run" / "hypotheses" / f"mle.{split}.txt").write_text(f"{word}\n")
    (place / "run" / "result.json").write_text(json.dumps({"stages": [entry]}))
    return Run([], UPDATES, {}, place)


def test_equal_runs_do_not_differ(tmp_path: Path) -> None:
    mine, theirs = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    assert difference(mine, theirs) == ""
    assert so_far(mine, theirs) == (2, 0)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"weight": 0.25000003}, "torch.equal"),
        ({"loss": 1.5000000000000002}, "curve"),
        ({"word": "zwei"}, "read_text"),
        ({"bleu": 30.500000000000004}, "entry[key]"),
    ],
)
def test_the_last_bit_is_noticed(tmp_path: Path, change: dict, found: str) -> None:
    mine, theirs = make_run(tmp_path / "a", **change), make_run(tmp_path / "b")
    assert found in difference(mine, theirs)
    assert so_far(mine, theirs) == (2, int("loss" in change))


def test_updates_left_out_of_both_are_noticed(tmp_path: Path) -> None:
    mine, theirs = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    assert "updates" in difference(mine, replace(theirs, updates={"mle": 60}))


def test_the_line_through_four_points() -> None:
    """1024 KiB more every 6 minutes are 10 MiB/h; residuals 1, -1, -1, 1 MiB have a standard error."""
    seconds = np.array([0.0, 360.0, 720.0, 1080.0])
    exact = np.array([1024.0, 2048.0, 3072.0, 4096.0])
    assert fitted(seconds, exact) == pytest.approx((2.5, 10, 0))
    bent = exact + 1024 * np.array([1, -1, -1, 1])
    assert fitted(seconds, bent) == pytest.approx((2.5, 10, (4 / 2 / 0.05) ** 0.5))


def test_lines_leave_out_the_warm_up_and_the_short_lived(tmp_path: Path) -> None:
    rows = [",".join(COLUMNS)]
    for second in range(0, 421, 5):
        grown = 5120 if second < 120 else 1024  # warm-up
        rows.append(f"{second},1 undisturbed,learner,7,erac,{grown},0,0")
        if second < 320:
            rows.append(f"{second},1 undisturbed,reward worker,8,erac,{second},0,0")
    (tmp_path / "memory.csv").write_text("\n".join(rows) + "\n")
    (line,) = lines(tmp_path / "memory.csv")
    assert (line.role, line.process, line.minutes, line.mean, line.slope) == ("learner", 7, 5, 1, 0)


def test_a_fault_that_was_not_overcome_makes_the_report_bad(tmp_path: Path) -> None:
    for name in ("disturbed", "undisturbed"):
        make_run(tmp_path / "round-1" / name)
    fault = {"event": "fault", "kind": "SIGKILL learner", "injected_at": 3, "seconds": 4.0, "recovered": True}
    fault |= {"mid_call": False, "mid_checkpoint": True}
    events = [
        {"event": "began", "seed": 1, "minutes": 60, "interval": 12},
        {"event": "round", "number": 1, "sampling": "learner", "updates": UPDATES},
        fault,
        {"event": "finished", "number": 1, "commands": 1},
        {"event": "compared", "number": 1, "difference": "", "undelivered": []},
    ]
    (tmp_path / "memory.csv").write_text(",".join(COLUMNS) + "\n")

    def verdict() -> bool:
        text = "".join(json.dumps({"time": k, **event}) + "\n" for k, event in enumerate(events))
        (tmp_path / "events.jsonl").write_text(text)
        return report(tmp_path)[1]

    assert verdict()
    assert "| SIGKILL learner | 1 | 1 | 0 | 0 | 1 | 4 (4) |" in report(tmp_path)[0]
    fault["recovered"] = False
    assert not verdict()
    fault["recovered"] = True
    events[-1]["undelivered"] = ["mle: MLflow's dev/bleu"]
    assert not verdict()
    del events[-1]
    assert not verdict()
