"""Runs and their metrics in MLflow: an index of what run storage holds, never a lock and never the source.

Two levels: a workflow's run is the parent, each stage it trains is a child. The driver alone talks to
MLflow: ``Tracker`` opens and closes runs, ``raysq.delivery`` brings the metrics of the learners' journals.
Only starting up raises ``UserError``; later on, MLflow may come and go.

``raysq.tracked`` reads it all again; these two alone import mlflow, and they do so late (about 1 s).
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import shlex
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import quote

from raysq.config import UserError
from raysq.mlflow_views import runs_url

if TYPE_CHECKING:
    from mlflow import MlflowClient

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]

_MAX_PARAM_LENGTH = 6000
_MAX_TAG_LENGTH = 8000
_PARAMS_PER_CALL = 100
METRICS_PER_CALL = 1000
"""What MLflow takes in one ``log_points``."""
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the default waits for minutes per call
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""What MLflow reads from the environment, where the user has not set it."""

_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")

_log = logging.getLogger(__name__)


class Point(NamedTuple):
    """One value of one metric."""

    name: str
    value: float
    step: int
    milliseconds: int
    """Since the epoch, when it was measured: with the rest it makes a point sent twice recognisable."""


class Tracker:
    """Runs of one experiment in one MLflow store, through the client alone (no global state).

    ``uri`` is ``sqlite:////absolute/file.db`` (see ``default_uri``) or ``http(s)://server``. The constructor
    creates database and experiment where they are missing: call it in the driver, before anything else
    might. Raises ``UserError`` within seconds for a store that is away or cannot be used.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri, artifacts = resolved(uri)
        with contact(self.uri), _alone(self.uri):
            self._client = open_client(self.uri)
            self.experiment_id = self._open_experiment(experiment, artifacts)

    def create_run(
        self,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, object],
        parent_id: str | None = None,
    ) -> str:
        """Start a run (a child of ``parent_id``, if given) and return its id.

        Values longer than MLflow takes are cut, and say so. Raises ``UserError`` where MLflow is away.
        """
        from mlflow.entities import Param

        parent = {} if parent_id is None else {"mlflow.parentRunId": parent_id}
        entries = [Param(key, _cut(str(value), _MAX_PARAM_LENGTH)) for key, value in params.items()]
        with contact(self.uri):
            run = self._client.create_run(
                self.experiment_id, run_name=name, tags=_cut_tags({**tags, **parent})
            )
            for start in range(0, len(entries), _PARAMS_PER_CALL):
                some = entries[start : start + _PARAMS_PER_CALL]
                self._client.log_batch(run.info.run_id, params=some, synchronous=True)
        return run.info.run_id

    def reopen(self, run_id: str) -> bool:
        """Mark a run of an earlier process as running again; False where this store does not have it."""
        from mlflow.exceptions import MlflowException

        with contact(self.uri):
            try:
                run = self._client.get_run(run_id)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return False
                raise
            if run.info.lifecycle_stage != "active":
                return False  # the user deleted it
            self._client.update_run(run_id, status="RUNNING")
        return True

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> bool:
        """Add or change tags; False (and a warning) where MLflow is away."""
        from mlflow.entities import RunTag

        entries = [RunTag(key, value) for key, value in _cut_tags(tags).items()]
        return self._attempt(
            f"tags of run {run_id}", lambda: self._client.log_batch(run_id, tags=entries, synchronous=True)
        )

    def tag_experiment(self, tags: Mapping[str, str]) -> bool:
        """Add or change tags of the experiment; False (and a warning) where MLflow is away."""

        def add() -> None:
            known = self._client.get_experiment(self.experiment_id).tags
            for key, value in tags.items():
                if known.get(key) != value:
                    self._client.set_experiment_tag(self.experiment_id, key, value)

        return self._attempt("tags of the experiment", add)

    def log_artifact(self, run_id: str, file: Path, folder: str | None = None) -> bool:
        """Attach a file; False (and a warning) where MLflow is away."""
        if not file.is_file():
            raise FileNotFoundError(f"{file} is no file to attach to a run")
        return self._attempt(str(file), lambda: self._client.log_artifact(run_id, str(file), folder))

    def log_artifacts(self, run_id: str, folder: Path, target: str | None = None) -> bool:
        """Attach the files of a folder; False (and a warning) where MLflow is away."""
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder to attach to a run")
        return self._attempt(str(folder), lambda: self._client.log_artifacts(run_id, str(folder), target))

    def finish(self, run_id: str, status: RunStatus, tags: Mapping[str, str] | None = None) -> bool:
        """Close a run; False (and a warning) where MLflow is away, so that the caller can repeat it later."""
        if status not in ("FINISHED", "FAILED", "KILLED"):
            raise ValueError(f"run status {status!r}")
        if tags and not self.set_tags(run_id, tags):
            return False  # a second call would wait as long
        return self._attempt(
            f"end of run {run_id}", lambda: self._client.set_terminated(run_id, status=status)
        )

    def last_steps(self, run_id: str) -> dict[str, int]:
        """The last step of every metric that MLflow holds of a run. Raises MLflow's errors."""
        # to_proto is the one public way to the steps of a run's latest metrics
        metrics = self._client.get_run(run_id).to_proto().data.metrics
        return {metric.key: metric.step for metric in metrics}

    def log_results(self, run_id: str, points: Sequence[Point]) -> bool:
        """Send closing scores; False (and a warning) where MLflow is away."""
        return self._attempt(f"scores of run {run_id}", lambda: self.log_points(run_id, points))

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Send up to 1000 points in one call. Raises MLflow's errors; some points may then be stored."""
        from mlflow.entities import Metric

        metrics = [Metric(point.name, point.value, point.milliseconds, point.step) for point in points]
        self._client.log_batch(run_id, metrics=metrics, synchronous=True)

    def _open_experiment(self, name: str, artifacts: str | None) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return self._client.create_experiment(name, artifact_location=artifacts)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                experiment = self._client.get_experiment_by_name(name)  # another command was faster
        if experiment.lifecycle_stage != "active":
            raise UserError(
                f"MLflow experiment {name!r} is deleted; restore it with "
                f"'mlflow experiments restore -x {experiment.experiment_id}' or choose another name"
            )
        return experiment.experiment_id

    def _attempt(self, what: str, call: Callable[[], object]) -> bool:
        """Run storage has it all: what MLflow does not take is a warning, not the end of a training."""
        try:
            call()
        except _errors() as error:
            _log.warning(
                "MLflow at %s did not take the %s: %s", without_credentials(self.uri), what, one_line(error)
            )
            return False
        return True


def without_credentials(text: str) -> str:
    """A text without the users and passwords of its addresses."""
    return _CREDENTIALS.sub("", text)


def default_uri(folder: Path) -> str:
    """The SQLite store of ``folder``, absolute: workers change their directory."""
    return f"sqlite:///{folder.expanduser().resolve() / 'mlflow.db'}"


def comparison_url(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """The page of MLflow's UI at ``base`` that compares runs."""
    runs, experiments = (
        quote(json.dumps(ids, separators=(",", ":")), safe="") for ids in (list(run_ids), [experiment_id])
    )
    return f"{base.rstrip('/')}/#/compare-runs?runs={runs}&experiments={experiments}"


def comparison_text(uri: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """How to look at runs: the command that serves a local store, the table of all runs, these compared."""
    local = uri.startswith("sqlite:")
    command = [f"mlflow ui --backend-store-uri {shlex.quote(uri)}"] if local else []
    base = "http://127.0.0.1:5000" if local else without_credentials(uri)
    pages = [runs_url(base, experiment_id), comparison_url(base, experiment_id, run_ids)]
    return "\n".join(command + pages)


def source_tags(root: Path) -> dict[str, str]:
    """Git commit of the sources at ``root`` and whether they differ from it, or "unknown"."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None or not _git(root, "ls-files"):  # a repository around an installed package says nothing
        return {"git_commit": "unknown", "git_dirty": "unknown"}
    changes = _git(root, "status", "--porcelain")
    dirty = "unknown" if changes is None else str(bool(changes)).lower()
    return {"git_commit": commit, "git_dirty": dirty, "mlflow.source.git.commit": commit}


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def open_client(uri: str) -> MlflowClient:
    """MLflow's client of a store, set to give up within seconds and to say nothing of its own."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # each step of a new database
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # each retry of each call
    return MlflowClient(tracking_uri=uri)


def resolved(uri: str) -> tuple[str, str | None]:
    """The URI with an absolute path, and where a local store keeps artifacts (a server decides itself)."""
    if uri.startswith(("http://", "https://")):
        return uri, None
    if not uri.startswith("sqlite:///") or uri == "sqlite:///" or "?" in uri:
        raise UserError(
            f"tracking URI {without_credentials(uri)!r} is not supported; "
            "give sqlite:////absolute/path/mlflow.db or the http(s):// address of an MLflow server"
        )
    path = Path(uri.removeprefix("sqlite:///")).expanduser().resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_database(path)
    except (OSError, sqlite3.Error) as error:
        raise UserError(
            f"tracking database {path} cannot be used ({one_line(error)}); give another --tracking-uri, or, "
            "where it is the default, another --output-dir"
        ) from error
    return f"sqlite:///{path}", (path.parent / "artifacts").as_uri()


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """One command at a time makes a database: two migrations of a new one would break each other."""
    if not uri.startswith("sqlite:"):
        yield
        return
    path = Path(uri.removeprefix("sqlite:///"))
    with path.with_name(f".{path.name}.opening").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _check_database(path: Path) -> None:
    """MLflow would try for minutes to open a file that is no database or cannot be written."""
    connection = sqlite3.connect(path, timeout=5)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
    finally:
        connection.close()


def _errors() -> tuple[type[Exception], ...]:
    """What an MLflow store raises when it is away, refuses or breaks."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, RequestException, SQLAlchemyError, OSError


@contextmanager
def contact(uri: str) -> Iterator[None]:
    """What MLflow's store raises inside becomes a UserError."""
    try:
        yield
    except Exception as error:  # an interruption passes: mlflow may not be there yet to say what it raises
        if not isinstance(error, _errors()):
            raise
        raise UserError(
            f"MLflow at {without_credentials(uri)} cannot be used ({one_line(error)}); start it, or give "
            "another --tracking-uri (sqlite:////absolute/path/mlflow.db needs no server)"
        ) from error


def _cut_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: _cut(value, _MAX_TAG_LENGTH) for key, value in tags.items()}


def _cut(value: str, limit: int) -> str:
    if len(value) <= limit:
        return value
    mark = f" ... [cut, {len(value)} characters]"
    return value[: limit - len(mark)] + mark


def one_line(error: Exception) -> str:
    """An error in one line of bounded length, without the passwords of its addresses."""
    return _cut(without_credentials(" ".join(str(error).split())) or type(error).__name__, 300)
