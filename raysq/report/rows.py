"""What a report is made of, independent of MLflow: one JSON file a trial, its hypotheses beside it.

    rows/tau-demo/space.json                     the space, its task, the data
    rows/tau-demo/erac-tau-0.045-seed-1.json     a trial: scores, curves, calibration of its stages
    rows/tau-demo/erac-tau-0.045-seed-1.test.txt.gz
    rows/references/60f1e2a7c3d4b5a6.test.txt.gz the references, once for all trials of the same data

Such folders can be kept, completed by the trials of a later command and read again (``--rows``). A report's
own folder of rows has those of its last report alone, unless that folder is among those read.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from raysq.config import UserError, digest
from raysq.files import regular, replace_json
from raysq.records import Record, first_reason, read_record
from raysq.sweep.space import NAME, Space, trials
from raysq.terminal import as_started

State = Literal["finished", "diverged", "failed", "stopped", "unfinished", "not run"]
"""stopped: by a scheduler; unfinished: its sweep has not ended, or was killed."""
Number = int | float | None
REMEDY = f"remove it and make the rows again: {as_started('report')} --experiment NAME"
REFERENCES = "references"
MAX_TEXT_BYTES = 1 << 27  # of hypotheses or references, decompressed
_BY_UPDATES = re.compile(r"all of \d+ updates done")  # ``stopped_by`` of a schedule's end


class Evaluation(Record):
    """One evaluation of a stage in training."""

    remedy = REMEDY

    update: int
    """Updates of the stage until then."""
    seconds: float | None = None
    """Time of the stage until then [s]; None: not noted."""
    reward_calls: float | None = None
    """Sequences that the reward of the stage had scored until then; None: not noted."""
    scores: dict[str, float]
    """Of the dev split, by name (``bleu``)."""


class Calibration(Record):
    """What a critic said of dev samples beside what they earned, at one position."""

    remedy = REMEDY

    position: int
    """1 for the first word; 0: all together."""
    n: int
    mean_q: float
    mean_return: float
    correlation: float
    bins: list[tuple[float, float, int]]
    """By tenths of Q: mean Q, mean Monte-Carlo return, number."""


class StageRow(Record):
    """A stage of a trial."""

    remedy = REMEDY

    name: str
    algorithm: str
    state: Literal["finished", "diverged"]
    after: list[str]
    """Stages that it took networks from."""
    updates: int
    best_update: int
    seconds: float
    stopped_by: str = ""
    """What ended it, as the stage's result.json has it; empty where it is not known."""
    control: bool = False
    """Whether it only goes on for as long as another stage, for comparison."""
    reward_calls: float | None = None
    curve: list[Evaluation] = Field(default_factory=list)
    calibration: list[Calibration] = Field(default_factory=list)
    """Empty: no critic, or not measured."""
    gradient_noise: dict[str, dict[str, Number | dict[str, Number]] | None] = Field(default_factory=dict)
    """As the stage's result.json has it; empty: not measured."""


class TrialRow(Record):
    """One arm with one value of each of its axes and one seed."""

    remedy = REMEDY

    arm: str
    values: dict[str, str]
    """As typed, by axis."""
    seed: int
    state: State
    recipe: str = ""
    data: str = ""
    """Digest of the prepared data; empty where it is not known."""
    configuration: str = ""
    """Short digest of its settings, seeds and its axes' values apart: trials of one arm and one command share
    it. Empty where it is not known, which goes with any."""
    started: int = 0
    """When its run began [ms since 1970]; 0 where it is not known."""
    final: str = ""
    """Stage whose policy is judged."""
    dev: dict[str, float] = Field(default_factory=dict)
    test: dict[str, float] = Field(default_factory=dict)
    """Closing scores of the best checkpoint, by name."""
    stages: list[StageRow] = Field(default_factory=list)
    """In the order of training."""
    hypotheses: list[str] | None = Field(None, exclude=True)
    """Of the test split; in a file of their own."""

    @property
    def key(self) -> tuple[object, ...]:
        """What tells the trials of a space apart."""
        return self.arm, *sorted(self.values.items()), self.seed

    @property
    def said(self) -> str:
        """Arm, values and seed in one line."""
        return " ".join([self.arm, *(f"{k}={v}" for k, v in self.values.items()), f"seed {self.seed}"])

    def stage(self, name: str) -> StageRow | None:
        """The stage of this name; None where nothing is known of it."""
        return next((stage for stage in self.stages if stage.name == name), None)

    @property
    def judged(self) -> StageRow | None:
        """The stage whose policy is judged; None where nothing is known of it."""
        return self.stage(self.final)

    def before(self) -> list[StageRow]:
        """The stages that the judged one began after, directly or not, in order."""
        names: set[str] = set()
        waiting = list(self.judged.after) if self.judged else []
        while waiting:
            name = waiting.pop()
            if name not in names and (stage := self.stage(name)):
                names.add(name)
                waiting += stage.after
        return [stage for stage in self.stages if stage.name in names]


class SpaceRow(Record):
    """space.json of a folder of rows."""

    remedy = REMEDY

    space: dict[str, Any]
    """The space as data."""
    task: str = Field(pattern=f"^{NAME}$")
    data: str = Field(pattern=r"^\w*$")
    """Digest of the prepared data that its trials share; empty where there is none yet."""


@dataclass
class SpaceResults:
    """The trials of a space on a task, from one place (a sweep's run, a folder of rows) or from several."""

    space: Space
    task: str
    place: str
    """As notes name it."""
    trials: list[TrialRow]
    references: list[str] | None = None
    """Of the test split, a line for each source: several are parted by tabulators."""
    unfinished: bool = False
    """Whether the sweep goes on, or was interrupted."""
    run_id: str | None = None
    """Of the sweep in MLflow."""
    notes: list[str] = field(default_factory=list)
    """What a reader should know of it."""

    @property
    def data(self) -> str:
        """Digest of the data of its trials; empty where none has any."""
        return next((trial.data for trial in self.trials if trial.data), "")

    @property
    def schedule(self) -> str:
        """Stages that their number of updates ended: ``critic 2,900 updates, erac 1,160 updates``.

        Of runs of several lengths the shortest and the longest; empty where all ended otherwise. A control
        does not count: it is as long as another stage.
        """
        lengths: dict[str, set[int]] = {}
        for stage in (stage for trial in self.trials for stage in trial.stages):
            if stage.state == "finished" and not stage.control and _BY_UPDATES.fullmatch(stage.stopped_by):
                lengths.setdefault(stage.name, set()).add(stage.updates)
        spans = {name: sorted({min(found), max(found)}) for name, found in lengths.items()}
        return ", ".join(
            f"{name} {' to '.join(f'{n:,}' for n in span)} updates" for name, span in spans.items()
        )


def space_of(data: Mapping[str, Any], place: str) -> Space:
    """A space out of its data. Raises UserError: it is another version's, or has a mistake."""
    try:
        space = TypeAdapter(Space).validate_python(data)
        trials(space)
    except UserError as error:
        raise UserError(f"{place}: {error}; then repeat the sweep's command") from error
    except ValidationError as error:
        raise UserError(
            f"the space in {place} is of another version of raysq ({first_reason(error)}): "
            "repeat the sweep's command"
        ) from error
    return space


def write_rows(folder: Path, results: Sequence[SpaceResults], *, keep: bool = False) -> int:
    """Write the trials of spaces that have ended, their hypotheses and references below ``folder``.

    What an earlier report left there is removed, whole spaces too; returns how many rows that were. With
    ``keep`` they stay, but for the trials written now: so kept rows are completed in their place.

    Raises:
        UserError: the disk is full.
    """
    removed, names = 0, {}
    for found in results:
        place = folder / f"{found.space.name}-{found.task}"
        names[place] = _write_space(place, found)
        if found.references is not None and found.data:
            (folder / REFERENCES).mkdir(exist_ok=True)
            _write_lines(_references_file(folder, found.data), found.references)
        removed += _remove_others(place, names[place], keep=keep)
    if not keep:
        for path in [path for path in folder.glob("*/space.json") if path.parent not in names]:
            removed += _remove_others(path.parent, {}, keep=False)
            path.unlink()
            with suppress(OSError):  # it holds something else
                path.parent.rmdir()
        needed = {_references_file(folder, found.data) for found in results}
        for path in set((folder / REFERENCES).glob("*.test.txt.gz")) - needed:
            path.unlink()
    return removed


def _write_space(place: Path, found: SpaceResults) -> dict[tuple[object, ...], str]:
    """Write what a space has; returns the names of its rows by the trials' keys."""
    place.mkdir(parents=True, exist_ok=True)
    record = SpaceRow(space=found.space.as_data(), task=found.task, data=found.data)
    replace_json(place / "space.json", record.model_dump(mode="json"))
    names = _file_names(found.trials)
    ended = [trial for trial in found.trials if trial.state not in ("not run", "unfinished")]
    for trial in ended:
        row = place / f"{names[trial.key]}.json"
        _text_file(row).unlink(missing_ok=True)  # of what the row was before
        if trial.hypotheses is not None:
            _write_lines(_text_file(row), trial.hypotheses)
        replace_json(row, trial.model_dump(mode="json"))
    return {trial.key: names[trial.key] for trial in ended}


def _remove_others(place: Path, names: Mapping[tuple[object, ...], str], *, keep: bool) -> int:
    """Remove rows that do not have these names; with ``keep`` only those of the same trials."""
    others = [row for row in _row_files(place) if row.stem not in names.values()]
    if keep:  # another version of raysq may have called it otherwise
        others = [row for row in others if read_record(row, TrialRow).key in names]
    for row in others:
        row.unlink()
        _text_file(row).unlink(missing_ok=True)
    return len(others)


def read_rows(folder: Path) -> list[SpaceResults]:
    """What a folder that ``write_rows`` filled has, by space and task.

    Raises:
        UserError: there are no rows, or one is damaged.
    """
    spaces = sorted(folder.glob("*/space.json"))
    if not spaces:
        raise UserError(f"{folder} holds no rows: give --rows the folder rows/ of a report")
    return [_read_space(path) for path in spaces]


def _read_space(path: Path) -> SpaceResults:
    record = read_record(path, SpaceRow)
    file = _references_file(path.parents[1], record.data)
    references = _read_lines(file) if file.is_file() else None
    trials = []
    for row in _row_files(path.parent):
        trial, text = read_record(row, TrialRow), _text_file(row)
        if text.is_file():
            trial.hypotheses = _read_lines(text)
            found = len(trial.hypotheses)
            if references and trial.data == record.data and found != len(references):
                raise UserError(
                    f"{text} has {found} lines, {file} {len(references)}: one is damaged; {REMEDY}"
                )
        trials.append(trial)
    trials.sort(key=lambda trial: -trial.started)  # the latest first, as MLflow has them
    return SpaceResults(space_of(record.space, str(path)), record.task, str(path.parent), trials, references)


def _row_files(place: Path) -> list[Path]:
    return [path for path in sorted(place.glob("*.json")) if path.name != "space.json"]


def _text_file(row: Path) -> Path:
    return row.with_name(f"{row.stem}.test.txt.gz")


def _references_file(folder: Path, data: str) -> Path:
    return folder / REFERENCES / f"{data[:16]}.test.txt.gz"


def _file_names(trials: Sequence[TrialRow]) -> dict[tuple[object, ...], str]:
    """By key ``erac-tau-0.045-seed-1``: what tells it apart, in letters that every file system takes.

    With a digest where more than spaces and ``=`` had to give way (``x=-1``), or two would have one name.
    """
    in_full = Counter(re.sub("[ =]", "-", trial.said.lower()) for trial in trials)
    names = {}
    for trial in trials:
        name = re.sub(r"[^\w.+]+", "-", trial.said.lower(), flags=re.ASCII).strip("-")
        if name != re.sub("[ =]", "-", trial.said.lower()) or in_full[name] > 1:
            key = {"arm": trial.arm, "values": trial.values, "seed": trial.seed}
            name = f"{name}-{digest(key)[:8]}"
        names[trial.key] = name
    return names


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    """One text a line, compressed; the same text gives the same bytes."""
    text = "".join(f"{line}\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _read_lines(path: Path) -> list[str]:
    try:
        with gzip.open(regular(path)) as file:
            content = file.read(MAX_TEXT_BYTES + 1)
        if len(content) > MAX_TEXT_BYTES:
            raise UserError(f"{path} decompresses to more than {MAX_TEXT_BYTES:,} bytes: {REMEDY}")
        return content.decode().removesuffix("\n").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}): {REMEDY}") from error
