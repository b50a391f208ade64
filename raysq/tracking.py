"""Runs and their metrics in MLflow: an index of what run storage holds, never a lock and never the source.

Two levels: a workflow's run is the parent, each stage it trains is a child. The driver alone talks to
MLflow: ``Tracker`` opens and closes runs, ``raysq.delivery`` brings the metrics of the learners' journals.
Only starting up raises ``UserError``; later on, MLflow may come and go.

``raysq.tracked`` reads it all again; these two alone import mlflow, and they do so late (about 1 s).
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from raysq.addresses import Place
from raysq.config import UserError
from raysq.terminal import without_credentials as without_credentials

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
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the end of a command tells where to look
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""What MLflow reads from the environment, where the user has not set it."""

_log = logging.getLogger(__name__)


class Point(NamedTuple):
    """One value of one metric."""

    name: str
    value: float
    step: int
    milliseconds: int
    """Since the epoch, when it was measured: with the rest it makes a point sent twice recognisable."""


@dataclass(frozen=True, slots=True)
class Update:
    """What a run gets after it was opened. Sent twice it changes nothing: all of it has its time."""

    run_id: str
    points: tuple[Point, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    file: Place | None = None
    """To attach."""
    folder: str | None = None
    """Where the run has it; none: at the top."""
    status: RunStatus | None = None
    """How it ended; the last to be sent."""
    ended: int | None = None
    """When [ms since the epoch]; none: now."""


class Tracker:
    """Runs of one experiment in one MLflow store, through the client alone (no global state).

    ``uri`` is ``sqlite:////absolute/file.db`` (see ``default_uri``) or ``http(s)://server``. The constructor
    creates database and experiment where they are missing: call it in the driver, before anything else
    might. Raises ``UserError`` within seconds for a store that is away or cannot be used.

    Without an experiment nothing is created: it adds to runs that are there.
    """

    def __init__(self, uri: str, experiment: str | None) -> None:
        if experiment is None:
            check_existing(uri)
        self.uri, artifacts = resolved(uri)
        self.experiment_id = ""
        with contact(self.uri), _alone(self.uri):
            self._client = open_client(self.uri)
            if experiment is not None:
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

        with contact(self.uri, f"run {run_id}"):
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
        return self._attempt(str(file), lambda: self.send(Update(run_id, file=file, folder=folder)))

    def send(self, update: Update) -> None:
        """Bring an update to its run. Raises MLflow's errors, some of it may then be stored, and OSError."""
        from mlflow.entities import RunTag

        run_id = update.run_id
        for start in range(0, len(update.points), METRICS_PER_CALL):
            self.log_points(run_id, update.points[start : start + METRICS_PER_CALL])
        if update.tags:
            tags = [RunTag(key, value) for key, value in _cut_tags(update.tags).items()]
            self._client.log_batch(run_id, tags=tags, synchronous=True)
        if update.file is not None:
            if not update.file.is_file():
                raise FileNotFoundError(f"{update.file} is no file to attach to a run")
            self._client.log_artifact(run_id, str(update.file), update.folder)
        if update.status is not None:
            self._client.set_terminated(run_id, status=update.status, end_time=update.ended)

    def last_steps(self, run_id: str) -> dict[str, int]:
        """The last step of every metric that MLflow holds of a run. Raises MLflow's errors."""
        try:
            # to_proto is the one public way to the steps of a run's latest metrics
            metrics = self._client.get_run(run_id).to_proto().data.metrics
        except TypeError as error:
            raise UserError(f"run {run_id} was edited by hand: {error}") from error
        return {metric.key: metric.step for metric in metrics}

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
        except errors() as error:
            _log.warning(
                "MLflow at %s did not take the %s: %s", without_credentials(self.uri), what, one_line(error)
            )
            return False
        return True


def default_uri(folder: Path) -> str:
    """The SQLite store of ``folder``, absolute: workers change their directory."""
    return f"sqlite:///{folder.expanduser().resolve() / 'mlflow.db'}"


def refused(error: Exception) -> bool:
    """Whether an error is about the one thing that was sent, rather than about a store that is away."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
    return isinstance(error, FileNotFoundError | UserError)


def check_existing(uri: str) -> None:
    """Raises ``UserError`` where ``uri`` names a database that is not there: opening it would make one."""
    path = Path(uri.removeprefix("sqlite:///")).expanduser()
    if uri.startswith("sqlite:///") and not path.is_file():
        raise UserError(
            f"there is no tracking database {path}: give the one that has the runs with --tracking-uri"
        )


def set_environment() -> None:
    """Tell MLflow, before it is imported, what it is to do where the user has said nothing."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def open_client(uri: str) -> MlflowClient:
    """MLflow's client of a store, set to give up within seconds and to say nothing of its own."""
    set_environment()
    from mlflow import MlflowClient

    # each step of a new database; the traceback of each error, which is raised too
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
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


def errors() -> tuple[type[Exception], ...]:
    """What an MLflow store raises when it is away, refuses or breaks."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, RequestException, SQLAlchemyError, OSError


@contextmanager
def contact(uri: str, what: str = "") -> Iterator[None]:
    """What MLflow raises inside, of ``what``, becomes a UserError."""
    at = f"MLflow at {without_credentials(uri)} cannot be used{what and f' for {what}'}"
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, errors()) and not refused(error):
            server = "(sqlite:////absolute/path/mlflow.db needs no server)"
            raise UserError(
                f"{at} ({one_line(error)}); start it, or give another --tracking-uri {server}"
            ) from error
        # of a store that was edited by hand MLflow raises anything
        raise UserError(
            f"{at} ({one_line(error)}); undo what was changed there by hand, or give another --tracking-uri"
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
