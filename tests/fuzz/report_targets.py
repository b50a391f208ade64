"""Readers of what a report is made of: kept rows, and runs in MLflow that somebody has edited."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from raysq.config import UserError
from raysq.report.comparisons import compare
from raysq.report.critics import calibration_table, noise_table
from raysq.report.gather import completed, of_experiment
from raysq.report.groups import groups_of
from raysq.report.rows import Calibration, SpaceResults, read_rows, write_rows
from raysq.report.tables import details_table, results_table, scores_table
from raysq.sweep.space import Arm, Axis, Space
from raysq.tracked import Tracked
from raysq.tracking import Tracker, default_uri
from tests.fuzz.harness import Target
from tests.fuzz.state_targets import scratch
from tests.report.made import REFERENCES, results, stage, trial
from tests.report.store import Store

TAU = Axis("tau", (0.0, 0.1), ("critic.tau", "erac.tau"))
ARMS = (Arm("ERAC", "erac", axes=(TAU,)), Arm("MLE", "mle"))
TOKENS = (
    b"null",
    b"NaN",
    b"-1",
    b"1e999",
    b"{}",
    b"[]",
    b'""',
    b'"../x"',
    b"\xff",
    b"\n",
    b"\t",
    b"finished",
)


def tabulated(found: list[SpaceResults]) -> None:
    """Make the tables of a report."""
    for part in found:
        whole = completed([part])
        groups = groups_of(whole)
        results_table(whole, groups, None)
        scores_table(whole, groups)
        details_table(whole, groups)
        calibration_table(whole, groups)
        noise_table(whole, groups)
        compare(whole, groups)


# -- kept rows


def make_rows(folder: Path) -> None:
    calibration = [Calibration(position=0, n=3, mean_q=1, mean_return=2, correlation=0, bins=[(1, 2, 3)])]
    critic = stage("critic", ["mle"], calibration=calibration)
    erac = stage("erac", ["critic"], scores=[(5, 1.5, 20, 30.25)], gradient_noise={"best": {"relative": 2.0}})
    lines = ["the cat sat", "a dog runs", "we go home"]
    stages = [stage(), critic, erac]
    rows = [
        trial("ERAC", 1, 50.0, {"tau": "0.1"}, stages=stages, final="erac", hypotheses=lines),
        trial("MLE", 1, 45.0, stages=[stage()], hypotheses=lines),
    ]
    write_rows(folder, [results(rows, ARMS, REFERENCES, baseline="MLE")])


def read_kept(folder: Path) -> None:
    found = read_rows(folder)
    tabulated(found)
    write_rows(folder.parent / "rows", found)
    inside = {path.relative_to(folder.parent).parts[0] for path in folder.parent.rglob("*")}
    assert inside == {"input", "rows"}, "rows were written elsewhere"


# -- runs in MLflow


@dataclass(frozen=True)
class Kept:
    """A sweep in a store, and what it had at first."""

    uri: str
    database: Path
    runs: dict[str, str]
    """Ids by name."""
    tags: dict[str, dict[str, str]]
    """By name of the run."""
    artifacts: dict[str, Path]
    """Files by a name that tells them apart."""


@cache
def store() -> Kept:
    """One store for all inputs: making its tables takes seconds."""
    folder = scratch()
    uri = default_uri(folder)
    filled = Store(Tracker(uri, "small"), "small", folder / "files")
    sweep = filled.sweep(Space("small", "Small", ARMS, (1,), baseline="MLE"))
    scores = {"bleu": 44.5, "signature": "nrefs:1"}
    result = {"state": "finished", "updates": 20, "best_update": 10, "seconds": 60.125, "reward_calls": 5}
    result |= {
        "dev": {**scores, "calibration": []},
        "test": scores,
        "gradient_noise": {"best": {"relative": 2}},
    }
    history = {10: {"dev/bleu": 40.0, "seconds": 3.0, "reward_calls": 100.0}}
    mle = filled.stage(sweep, "mle", {}, history, identity="m", result=result, hypotheses=["a b", "c"])
    erac = filled.stage(sweep, "erac", {"policy": "m"}, history, identity="e", result=result)
    stages = {"mle": mle, "erac": erac}
    final = {"dev_best/bleu": 44.5, "test_best/bleu": 43.5}
    one = filled.trial(sweep, "ERAC", 1, "erac", stages, final, "d" * 64, values={"tau": "0.1"})
    runs = {"sweep": sweep, "mle": mle, "erac": erac, "trial": one}
    database = folder / "mlflow.db"
    with sqlite3.connect(database) as connection:
        tags = {name: dict(connection.execute(_TAGS, (run_id,)).fetchall()) for name, run_id in runs.items()}
    artifacts = {
        f"{name}.{path.name}": path
        for name, run_id in runs.items()
        for path in sorted((folder / "artifacts").glob(f"**/{run_id}/**/*"))
        if path.is_file()
    }
    return Kept(uri, database, runs, tags, artifacts)


_TAGS = "SELECT key, value FROM tags WHERE run_uuid = ?"
_STORED = (str, int, float, type(None))
"""What a column of SQLite takes."""


def make_tracked(folder: Path) -> None:
    kept = store()
    tags = json.dumps(kept.tags)
    for name, run_id in kept.runs.items():  # ids differ from store to store
        tags = tags.replace(run_id, f"id of {name}")
    (folder / "tags.json").write_text(tags)
    for name, path in kept.artifacts.items():
        (folder / name).write_bytes(path.read_bytes())


def read_tracked(folder: Path) -> None:
    """Put tags and artifacts into the store, and gather them as workflows/report.py does."""
    kept = store()
    _edit(kept, _tags_in(folder))
    for name, path in kept.artifacts.items():
        path.unlink(missing_ok=True)
        if (folder / name).is_file():
            path.write_bytes((folder / name).read_bytes())
    try:
        tabulated(of_experiment(Tracked(kept.uri, "small")))
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error  # messages name the run


def _tags_in(folder: Path) -> dict[str, Any]:
    try:
        text = (folder / "tags.json").read_text() if (folder / "tags.json").is_file() else "{}"
        for name, run_id in store().runs.items():
            text = text.replace(f"id of {name}", run_id)
        tags = json.loads(text)
    except (ValueError, RecursionError):
        return {}  # its reader is MLflow
    return tags if isinstance(tags, dict) else {}


def _edit(kept: Kept, tags: dict[str, Any]) -> None:
    with sqlite3.connect(kept.database) as connection:
        for name, run_id in kept.runs.items():
            connection.execute("DELETE FROM tags WHERE run_uuid = ?", (run_id,))
            of_run = tags.get(name)
            for key, value in of_run.items() if isinstance(of_run, dict) else ():
                if isinstance(value, _STORED) and _fits(key) and _fits(value):
                    row = (run_id, key, value)
                    connection.execute("INSERT INTO tags (run_uuid, key, value) VALUES (?, ?, ?)", row)
    connection.close()


def _fits(value: object) -> bool:
    """Whether SQLite can hold a value."""
    if isinstance(value, int):
        return abs(value) < 2**63
    return not isinstance(value, str) or value.isprintable() or value.isascii()


TARGETS = (
    Target("report-rows", ("raysq.report.rows",), make_rows, read_kept, TOKENS),
    Target("mlflow-runs", ("raysq.report.gather", "raysq.tracked"), make_tracked, read_tracked, TOKENS),
)
