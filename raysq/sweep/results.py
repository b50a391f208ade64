"""What became of the trials of a sweep, by what their stages left in run storage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysq.addresses import written
from raysq.cluster.ready import UNREACHED, Outcome
from raysq.records import RESULT
from raysq.sweep.graph import TrialPlan
from raysq.training import journal
from raysq.training.state import read_result


def outcome_of(plan: TrialPlan, ended: Mapping[Path, Outcome]) -> Outcome:
    """What became of a trial: of the stage that is judged."""
    folder = plan.judged.spec.folder
    if (folder / RESULT).exists():
        result = read_result(folder)
        return Outcome(result["state"], result["stopped_by"])
    return ended.get(folder, UNREACHED)


def last_score(plan: TrialPlan) -> float | None:
    """Dev score of a trial's judged stage at its end; None: it has not come to a good one."""
    spec = plan.judged.spec
    if not (spec.folder / RESULT).exists() or read_result(spec.folder)["state"] != "finished":
        return None
    name = f"dev/{spec.algorithm.selection_by(plan.config.decoding.scoring)[0]}"
    records = journal.read(spec.folder / "journal.jsonl")[0]
    return next((record.metrics[name] for record in reversed(records) if name in record.metrics), None)


def row_of(plan: TrialPlan, outcome: Outcome) -> dict[str, Any]:
    """A trial's entry of result.json."""
    trial, judged = plan.trial, plan.judged.spec
    row = {
        "arm": trial.arm.label,
        "values": dict(trial.values),
        "seed": trial.seed,
        "state": outcome.state,
        "reason": outcome.reason,
        "stage": judged.name,
        "folder": written(judged.folder),
    }
    if trial.member:
        row |= {"member": trial.member, "round": trial.round}
    if (judged.folder / RESULT).exists():
        result = read_result(judged.folder)
        row |= {key: result[key] for key in ("dev", "test", "updates", "best_update", "seconds")}
    return row
