"""How stages of a sweep ended that left no result, kept in its output folder for the next command."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import RootModel

from raysq.cluster.ready import Outcome
from raysq.files import replace_json
from raysq.records import RESULT, Record, read_record
from raysq.sweep.graph import Graph

FILE = "outcomes.json"


class OutcomesRecord(Record, RootModel[dict[str, tuple[Literal["diverged", "stopped"], str]]]):
    """outcomes.json of a sweep's output folder: state and reason by the name of a stage's folder."""

    remedy = "remove it and repeat the command, which tries those stages again"


class Outcomes:
    """What is known of the stages of a graph that have ended, by folder.

    A stage that diverged before it had anything to keep would again, so that it is not repeated, nor, while
    the scheduler is the same, one that it stopped; failures are.
    """

    def __init__(self, output: Path, graph: Graph, scheduler: str) -> None:
        """Read what an earlier command kept. Raises UserError where that is damaged."""
        self._path = output / FILE
        self._kept: dict[str, tuple[str, str]] = {}
        if self._path.exists():
            self._kept = dict(read_record(self._path, OutcomesRecord).root)
        lasting = {"diverged"} | ({"stopped"} if scheduler != "none" else set())
        self.ended: dict[Path, Outcome] = {}
        for node in graph.to_train:
            lost = [parent for parent in node.parents if parent in self.ended]
            state, reason = self._kept.get(node.name, ("", ""))
            if lost:
                stage = graph.nodes[lost[0]].stage.spec.name
                self.ended[node.folder] = Outcome("not run", f"{stage} {self.ended[lost[0]].state}")
            elif state in lasting:
                self.ended[node.folder] = Outcome(state, reason)  # type: ignore[arg-type]

    def note(self, folder: Path, outcome: Outcome) -> None:
        """A stage has ended."""
        self.ended[folder] = outcome
        if outcome.state in ("diverged", "stopped") and not (folder / RESULT).exists():
            self._kept[folder.name] = (outcome.state, outcome.reason)
        else:
            self._kept.pop(folder.name, None)
        replace_json(self._path, self._kept)
