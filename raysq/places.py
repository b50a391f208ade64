"""Where a command keeps what it writes: in a job not in the working directory, which Ray deletes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raysq.addresses import address_of, written
from raysq.config import TrainingCommand, UserError
from raysq.records import PLAN, PlanRecord, read_record
from raysq.storage import pull
from raysq.tracking import default_uri

_JOB_COPY = ("runtime_resources", "working_dir_files")
"""Ray unpacks the working directory of a submitted job below these folders, and deletes it after the job."""


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of a workflow; all absolute, because learners change their directory."""

    output: Path
    store: Path
    tracking_uri: str
    data: Path | None
    """The prepared folder that --data-dir names."""

    @classmethod
    def of(cls, name: str, config: TrainingCommand) -> Places:
        """The places that the settings name, or their defaults: ``runs/NAME``; in a job below ``~/raysq``.

        Raises:
            UserError: a place lies in the copy that Ray made of a job's working directory.
        """
        output = lasting("--output-dir", config.output_dir or default_place(Path("runs") / name))
        store = lasting("--store-dir", config.store_dir or output.parent / "stages")
        data = lasting("--data-dir", config.data_dir) if config.data_dir else None
        if address_of(output) is not None and config.tracking_uri is None:
            raise UserError(
                f"--output-dir {written(output)}: MLflow's database cannot lie there: give --tracking-uri "
                "sqlite:////absolute/path/mlflow.db or the address of an MLflow server"
            )
        uri = config.tracking_uri or default_uri(output.parent)
        if uri.startswith("sqlite:///"):
            lasting("--tracking-uri", Path(uri.removeprefix("sqlite:///")))
        return cls(output, store, uri, data)


def fetch_run(folder: Path) -> None:
    """Bring a run that lies elsewhere here, with its stages, for ``raysq.inventory``."""
    pull(folder)
    stages = read_record(folder / PLAN, PlanRecord).stages if (folder / PLAN).is_file() else {}
    for place in (folder, *stages.values()):
        pull(place)
        if place.is_dir():
            (place / "claim").touch()  # by which it is known


def default_place(path: Path) -> Path:
    """A relative path for what no option places: as it is, in a job below ``~/raysq/``."""
    return Path("~/raysq") / path if _deleted_after_job(Path.cwd()) else path


def lasting(option: str, path: Path) -> Path:
    """The path that ``option`` names, made absolute.

    Raises:
        UserError: it lies in the copy that Ray made of a job's working directory, which ends with the job.
    """
    absolute = path.expanduser().resolve()
    if _deleted_after_job(absolute):
        raise UserError(
            f"{option} {path}: in a job this lies in Ray's copy of the working directory, which is deleted "
            "after the job: give an absolute path on storage that outlives it"
        )
    return absolute


def _deleted_after_job(path: Path) -> bool:
    return any(pair == _JOB_COPY for pair in zip(path.parts, path.parts[1:], strict=False))
