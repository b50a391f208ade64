"""What a sweep shows: a live table of trials, plain lines where there is no terminal, tables at its ends."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from raysq.cluster.ready import Outcome
from raysq.config import as_typed
from raysq.data.shards import Corpus
from raysq.logs import about
from raysq.progress import PLAIN_SECONDS, Pace, news
from raysq.sweep.forecast import Forecast, most_updates, path_and_sum
from raysq.sweep.graph import Graph, Node, TrialPlan
from raysq.sweep.space import Space
from raysq.terminal import terminal
from raysq.training.journal import Record

HOUR = 3600.0
COLUMNS = (
    ("test BLEU", "test", "bleu"),
    ("test ROUGE", "test", "rouge"),
    ("test CIDEr", "test", "cider"),
    ("test sample BLEU", "test", "sample_bleu"),
    ("dev BLEU", "dev", "bleu"),
    ("dev ROUGE", "dev", "rouge"),
)
"""Heading, split and name of the scores in the table at the end, where a trial has them."""


def wide() -> Console:
    """For tables: where there is no terminal nothing is cut to its width."""
    console = terminal(soft_wrap=False)
    return console if console.is_terminal else terminal(soft_wrap=False, width=200)


class Board:
    """Where the trials of a sweep stand; fed with the journals' records and with beginnings and ends."""

    def __init__(self, console: Console, graph: Graph, corpus: Corpus) -> None:
        self._console, self._graph = console, graph
        self._updates = {node.folder: most_updates(node, graph, corpus) for node in graph.to_train}
        self._paces = {folder: Pace(updates) for folder, updates in self._updates.items()}
        self._of_run = {node.stage.record.get("run_id"): node for node in graph.to_train}
        self._at: dict[Path, tuple[int, str]] = {}
        """Last update of a stage, and what it reported of it."""
        self._state: dict[Path, str] = {node.folder: "waits" for node in graph.to_train}
        self._last_line = time.monotonic()
        self._live: Live | None = None
        reused = len(graph.nodes) - len(graph.to_train)
        said = f"{len(graph.trials)} trials, {len(graph.nodes)} distinct stages: {reused} reused"
        console.print(f"{said}, {len(graph.to_train)} to train")
        if console.is_terminal and not console.quiet:
            self._live = Live(get_renderable=self._table, console=console, refresh_per_second=1)
            self._live.start()

    def show(self, run_id: str, record: Record) -> None:
        """One record of a stage's journal."""
        node, said = self._of_run[run_id], news(record.metrics)
        pace = self._paces[node.folder].said(record)
        evaluation = any(name.startswith("dev/") for name in record.metrics)
        if evaluation or node.folder not in self._at:
            self._at[node.folder] = (record.step, said)
        else:
            self._at[node.folder] = (record.step, self._at[node.folder][1])
        if self._live is None and (evaluation or time.monotonic() - self._last_line >= PLAIN_SECONDS):
            self._last_line = time.monotonic()
            with about(node.stage.spec.name):
                self._console.print(f"{_name(node)} {pace}: {said}")

    def changed(self, node: Node, outcome: Outcome | None) -> None:
        """A stage has begun (None) or ended."""
        self._state[node.folder] = "trains" if outcome is None else outcome.state
        if self._live is None:
            said = "begins" if outcome is None else f"{outcome.state}: {outcome.reason}"
            left = sum(state in ("waits", "trains") for state in self._state.values())
            line = f"{_name(node)} {said} ({left} of {len(self._state)} stages left)"
            with about(node.stage.spec.name):
                self._console.print(line)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()

    def _table(self) -> Table:
        table = Table("trial", "stage", "updates", "last evaluation")
        for plan in self._graph.trials:
            stage = self._standing(plan)
            update, said = self._at.get(stage, (0, ""))
            state = self._state.get(stage, "finished")
            of = f"{update} / {self._updates[stage]}" if state == "trains" else ""
            table.add_row(plan.trial.said, f"{self._graph.nodes[stage].stage.spec.name} {state}", of, said)
        return table

    def _standing(self, plan: TrialPlan) -> Path:
        """The first stage of a trial that has not ended, up to the one that is judged."""
        folders = [stage.spec.folder for stage in plan.stages]
        for folder in folders:
            if self._state.get(folder) in ("waits", "trains"):
                return folder
        return plan.judged.spec.folder


def _name(node: Node) -> str:
    return f"{node.name.rpartition('-')[0]} seed {node.stage.spec.seed}"


def closing_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Scores of all trials."""
    axes = list(dict.fromkeys(name for row in rows for name in row["values"]))
    rounds = ["member", "round"] if any("round" in row for row in rows) else []
    table = Table("arm", *axes, "seed", *rounds, "state")
    shown = [column for column in COLUMNS if any(column[2] in row.get(column[1], {}) for row in rows)]
    for heading in (*(column[0] for column in shown), "updates", "time"):
        table.add_column(heading, justify="right")
    for row in rows:
        values = [as_typed(row["values"][name]) if name in row["values"] else "" for name in axes]
        place = [str(row[name]) for name in rounds]
        cells = [row["arm"], *values, str(row["seed"]), *place, row["state"]]
        if "test" in row:
            scores = (row[split].get(name) for _, split, name in shown)
            cells += ["" if score is None else f"{score:.2f}" for score in scores]
            cells += [str(row["updates"]), f"{row['seconds']:.0f} s"]
        table.add_row(*cells)
    return table


def best_text(rows: Sequence[Mapping[str, Any]], space: Space) -> str:
    """Which trial has the best dev score, its values and its folder."""
    scored = [row for row in rows if "dev" in row and space.metric in row["dev"]]
    if not scored:
        return "no trial has come to a score"
    sign = 1 if space.mode == "max" else -1
    best = max(scored, key=lambda row: sign * row["dev"][space.metric])
    values = " ".join(f"{name}={as_typed(value)}" for name, value in best["values"].items())
    score = best["dev"][space.metric]
    return f"best dev {space.metric} {score:.2f}: {best['arm']} {values}, in {best['folder']}"


def forecast_table(graph: Graph, forecasts: Mapping[Path, Forecast]) -> Table:
    """The distinct stages of a sweep, and how long each may take."""
    table = Table("stage", "algorithm", "seed", "starts from", "trials")
    for heading in ("updates at most", "s / update", "hours"):
        table.add_column(heading, justify="right")
    for node in graph.nodes.values():
        spec = node.stage.spec
        parents = ", ".join(parent.name.rpartition("-")[0] for parent in node.parents)
        cells = [node.name.rpartition("-")[0], type(spec.algorithm).__name__, str(spec.seed), parents]
        cells.append(str(len(node.trials)))
        found = forecasts.get(node.folder)
        if found is None:
            cells += ["", "", "finished"]
        else:
            cells += [str(found.updates), f"{found.rate:.3g} {found.source}", f"{found.seconds / HOUR:.2f}"]
        table.add_row(*cells)
    return table


def forecast_text(graph: Graph, forecasts: Mapping[Path, Forecast], concurrent: int) -> str:
    """Core-hours, and hours at so many stages at a time."""
    path, total = path_and_sum(graph, forecasts)
    hours = max(path, total / concurrent) / HOUR
    text = (
        f"{len(graph.trials)} trials, {len(graph.nodes)} distinct stages, {len(graph.to_train)} to train: "
        f"at most {total / HOUR:.2f} stage-hours, {hours:.2f} hours with {concurrent} at a time "
        f"(longest way from start to end {path / HOUR:.2f})"
    )
    if any(forecast.source == "timed" for forecast in forecasts.values()):
        text += "; 'timed' rates are of a few updates just now: evaluations come on top"
    return text
