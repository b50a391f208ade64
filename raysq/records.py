"""The JSON files of run storage: what they are called, what is read of them, and the one way to read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from raysq.addresses import Place, written
from raysq.config import DecodingConfig, Scalar, UserError
from raysq.files import regular, replace_json

WRITTEN_AGAIN = "repeat the command that made it, which writes it again"
PLAN, SETTINGS, STAGE, RESULT = "plan.json", "config.json", "stage.json", "result.json"
R = TypeVar("R", bound="Record")
NO_NUMBERS = {"calibration": list, "correlation_by_position": dict}
"""Scores that are none, and no signature either."""


def _checked(scores: dict[str, Any]) -> dict[str, Any]:
    for name, score in scores.items():
        kind = str if name.endswith("signature") else NO_NUMBERS.get(name, (int, float))
        if not isinstance(score, kind):
            raise ValueError(f"{name} is no score")
    return scores


Scores = Annotated[dict[str, Any], AfterValidator(_checked)]
"""Of a split by name: numbers, signatures, and what belongs to a critic."""


class Record(BaseModel):
    """Base of the records: what its reader needs of a file."""

    remedy: ClassVar[str]
    """What to do about a damaged one; nothing that costs more than the file."""


class PlanRecord(Record):
    """plan.json of an output folder: what its last command set out to do."""

    remedy = WRITTEN_AGAIN

    workflow: str
    stages: dict[str, Place]
    """Folders by name, in order."""


class SettingsRecord(Record):
    """config.json of an output folder."""

    remedy = WRITTEN_AGAIN

    task: str
    seed: int
    data_dir: Place | None = None
    tracking_uri: str | None = None


class StageRecord(Record):
    """stage.json of a stage's folder; what is not named here is kept for who writes the file again."""

    remedy = "move its folder away and repeat the command that made it, which trains the stage afresh"
    model_config = ConfigDict(extra="allow")

    stage: str
    algorithm: str
    seed: int
    version: str
    run_id: str
    parents: dict[str, str]

    @property
    def control(self) -> bool:
        """Whether it only continues another stage's actor for comparison, as long as the one it is like."""
        return "like" in self.parents


class ModelRecord(StageRecord):
    """stage.json, with what it takes to build the stage's networks again."""

    network: dict[str, Scalar]
    """Settings of the class that ``own`` names, else of `NetworkConfig`."""
    decoding: DecodingConfig
    data: str
    own: dict[str, str] = {}
    """Class of the user's by what it is: algorithm, reward or network."""


class TrainedRecord(ModelRecord):
    """stage.json, with what the stage was trained by."""

    settings: dict[str, Scalar]
    """Of the algorithm, by dotted key."""
    reward: dict[str, Scalar]
    """Empty where no sample was scored."""


class StageResultRecord(Record):
    """result.json of a stage's folder; what is not named here is kept, too."""

    remedy = "remove the file and repeat the command that made it, which goes on from the last checkpoint"
    model_config = ConfigDict(extra="allow")

    name: str
    state: Literal["finished", "diverged"]
    updates: int = Field(ge=0)
    best_update: int = Field(ge=0)
    dev: Scores
    test: Scores

    @property
    def has_policy(self) -> bool:
        """Whether the stage trained a policy: only such a one has hypotheses to score."""
        return "bleu" in self.test


class AccountRecord(StageResultRecord):
    """result.json of a stage's folder, with how the stage went."""

    stopped_by: str
    warnings: list[str]
    seconds: float = Field(ge=0, allow_inf_nan=False)


class RunStageRecord(StageResultRecord):
    """A stage in an output folder's result.json."""

    folder: Place


class ResultRecord(Record):
    """result.json of an output folder."""

    remedy = WRITTEN_AGAIN

    stages: list[RunStageRecord]


def write_plan(output: Path, workflow: str, stages: Mapping[str, Path]) -> None:
    """Note in a workflow's output folder which workflow it is and where its stages are, before they begin."""
    folders = {name: written(folder) for name, folder in stages.items()}
    replace_json(output / PLAN, {"workflow": workflow, "stages": folders})


def read_record(path: Path, kind: type[R]) -> R:
    """A JSON file as ``kind``.

    Raises:
        FileNotFoundError: there is none.
        UserError: it cannot be read, or holds something else.
    """
    try:
        content = regular(path).read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): make it readable") from error
    return parse_record(content, kind, str(path))


def parse_record(content: str | bytes, kind: type[R], place: str, remedy: str = "") -> R:
    """A JSON text as ``kind``; ``place`` is where it is from, ``remedy`` what to do if not as ``kind`` says.

    Raises:
        UserError: it holds something else.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise UserError(
            f"{place} is damaged or of another version of raysq ({first_reason(error)}): "
            f"{remedy or kind.remedy}"
        ) from error


def first_reason(error: ValidationError) -> str:
    """The first thing that is wrong, after its place: ``stages.0.folder: Field required``."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]
