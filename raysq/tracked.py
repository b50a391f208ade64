"""Runs read back from MLflow: what a report is made of. Nothing is written, and nothing is created.

With ``raysq.tracking`` the only module that imports mlflow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any

from raysq.config import UserError
from raysq.tracking import check_existing, contact, open_client, resolved, without_credentials

_RUNS_PER_CALL = 1000


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run as MLflow holds it now."""

    id: str
    status: str
    """RUNNING, FINISHED, FAILED, KILLED or SCHEDULED."""
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    """The latest value of each."""
    started: int
    """When it began [ms since 1970]."""


class Tracked:
    """An experiment of a store, open for reading.

    Raises ``UserError`` where the store is away, or there is no such store or experiment.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        check_existing(uri)
        self.uri, _ = resolved(uri)
        with contact(self.uri):
            self._client = open_client(self.uri)
            found = self._client.get_experiment_by_name(experiment)
            names = [e.name for e in self._client.search_experiments()] if found is None else []
        if found is None:
            raise UserError(
                f"{without_credentials(self.uri)} has no experiment {experiment!r}: "
                f"--experiment must be one of {', '.join(names)}"
            )
        self._experiment_id = found.experiment_id

    def runs(self, level: str, parent_id: str | None = None) -> list[TrackedRun]:
        """The runs of a level (``raysq.level``), children of ``parent_id`` if given; the newest first."""
        query = f"tags.`raysq.level` = '{level}'"
        if parent_id is not None:
            query += f" and tags.`mlflow.parentRunId` = '{parent_id}'"
        found: list[TrackedRun] = []
        token = None
        while True:
            with contact(self.uri, f"runs of level {level}"):
                page = self._client.search_runs(
                    [self._experiment_id],
                    query,
                    max_results=_RUNS_PER_CALL,
                    order_by=["attributes.start_time DESC"],
                    page_token=token,
                )
                found += map(_read, page)
            token = page.token
            if not token:
                return found

    def run(self, run_id: str) -> TrackedRun | None:
        """A run of any experiment of the store; None where the store does not have it."""
        from mlflow.exceptions import MlflowException

        with contact(self.uri, f"run {run_id}"):
            try:
                return _read(self._client.get_run(run_id))
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise

    def history(self, run_id: str, metrics: Sequence[str]) -> dict[int, dict[str, float]]:
        """The values of some metrics by step, in their order; of a step sent twice the first one counts."""
        by_step: dict[int, dict[str, float]] = {}
        for name in metrics:
            with contact(self.uri, f"metric {name} of run {run_id}"):
                for point in self._client.get_metric_history(run_id, name):
                    by_step.setdefault(index(point.step), {}).setdefault(name, float(point.value))
        return dict(sorted(by_step.items()))

    def text(self, run_id: str, path: str) -> str | None:
        """An artifact of a run as text; None where it has none of this path."""
        folder, _, _ = path.rpartition("/")
        with contact(self.uri, f"artifact {path} of run {run_id}"):
            if path not in {entry.path for entry in self._client.list_artifacts(run_id, folder or None)}:
                return None
            return Path(self._client.download_artifacts(run_id, path)).read_text(encoding="utf-8")

    def json(self, run_id: str, path: str) -> Any:
        """An artifact of a run as JSON; None where it has none of this path.

        Raises:
            UserError: it is no JSON.
        """
        text = self.text(run_id, path)
        try:
            return None if text is None else json.loads(text)
        except ValueError as error:
            raise UserError(
                f"artifact {path} of run {run_id} is no JSON ({error}): repeat the command that made the run"
            ) from error


def _read(run: Any) -> TrackedRun:
    """A run of MLflow's. Raises TypeError or ValueError for values of wrong types."""
    info, data = run.info, run.data
    tags = {name: value for name, value in data.tags.items() if value is not None}
    metrics = {name: float(value) for name, value in data.metrics.items()}
    return TrackedRun(info.run_id, info.status, tags, metrics, index(info.start_time))
