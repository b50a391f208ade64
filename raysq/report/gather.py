"""From MLflow, and from kept rows, to everything known of a space."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raysq.addresses import placed
from raysq.config import Unfinished, UserError, as_typed
from raysq.data.shards import Corpus
from raysq.records import RESULT, STAGE, Record, StageResultRecord, first_reason, parse_record
from raysq.report.rows import Evaluation, SpaceResults, StageRow, State, TrialRow, space_of
from raysq.sweep.space import NAME, Space, trials
from raysq.tracked import Tracked, TrackedRun

_CURVES = ("bleu", "sample_bleu", "perplexity", "td_error")
"""Dev scores kept at every evaluation, beside the space's metric."""
_DIGITS = 7
"""Significant digits kept of a number: more than a metric means, and small files."""
_INFINITE = 1e300
"""MLflow keeps infinities as the largest float."""
_REMEDY = "repeat the sweep's command, which completes its runs, or leave it out with another --experiment"
_STATES: dict[str, State] = {s: s for s in ("finished", "diverged", "failed", "stopped", "not run")}


def of_experiment(tracked: Tracked, data_dirs: Sequence[Path] = ()) -> list[SpaceResults]:
    """The newest sweep of every space and task of an experiment.

    Args:
        tracked: the experiment.
        data_dirs: prepared data, for the references; beside the folders that the sweeps' runs name.

    Raises:
        UserError: a folder of ``data_dirs`` holds no prepared data; what a run holds is of another version.
    """
    given = {corpus.digest: corpus for corpus in map(Corpus.load, data_dirs)}
    newest: dict[tuple[str, str], TrackedRun] = {}
    for run in tracked.runs("sweep"):
        newest.setdefault((_tag(run, "raysq.sweep"), _tag(run, "raysq.task", NAME)), run)
    return [_sweep(tracked, run, given) for run in newest.values()]


def with_references(kept: Sequence[SpaceResults], data_dirs: Sequence[Path]) -> list[SpaceResults]:
    """Kept rows, with the references of those of ``data_dirs``: of corpora that must not be copied.

    Raises:
        UserError: a folder of ``data_dirs`` holds no prepared data.
    """
    given = {corpus.digest: corpus for corpus in map(Corpus.load, data_dirs)}
    for found in kept:
        if found.references is None and found.data in given:
            found.references = _test_references(given[found.data])
    return list(kept)


def completed(parts: Sequence[SpaceResults]) -> SpaceResults:
    """All that several places have of one space: every trial of it, those that nobody ran as "not run".

    The first place's space, data and references count. Of a trial that several have, the first that finished
    does. What is of other data, was trained with other settings or is no part of the space is left out, and
    the notes say so.
    """
    first = parts[0]
    data = next((part.data for part in parts if part.data), "")
    notes = [note for part in parts for note in part.notes]
    counting = _counting(first.space, parts, data, notes)
    best: dict[tuple[object, ...], TrialRow] = {
        (arm, *values, seed): TrialRow(arm=arm, values=dict(values), seed=seed, state="not run")
        for arm, values, seed in _points(first.space, counting)
    }
    for trial in counting:
        if _better(trial, best.get(trial.key)):
            best[trial.key] = trial
    references = next((p.references for p in parts if p.references and p.data == data), None)
    unfinished = any(part.unfinished for part in parts)
    place = ", ".join(part.place for part in parts)
    return SpaceResults(
        first.space, first.task, place, list(best.values()), references, unfinished, first.run_id, notes
    )


_Point = tuple[str, tuple[tuple[str, str], ...], int]
"""Arm, values and seed of a trial."""


def _counting(space: Space, parts: Sequence[SpaceResults], data: str, notes: list[str]) -> list[TrialRow]:
    """The trials that belong together, in their order; ``notes`` gets how many do not, and why.

    Of every arm the settings of the first trial count that was begun: of a sweep that is the latest.
    """
    known = {(arm, values) for arm, values, _ in _points(space, [])}
    configurations: dict[str, str] = {}
    found = []
    for part in parts:
        left_out: Counter[str] = Counter()
        for trial in part.trials:
            begun = trial.configuration if trial.state != "not run" else ""
            if trial.data not in ("", data):
                left_out["they are of other data"] += 1
            elif not space.searches and _point(trial)[:2] not in known:
                left_out["the space has them no longer"] += 1
            elif begun and configurations.setdefault(trial.arm, begun) != begun:
                left_out["they were trained with other settings than the latest"] += 1
            else:
                found.append(trial)
        notes += [f"{n} trials of {part.place} are left out: {why}" for why, n in left_out.items()]
    return found


def _points(space: Space, counting: Sequence[TrialRow]) -> list[_Point]:
    """Every trial that should be there; a search has those that it drew."""
    if space.searches:
        return [_point(trial) for trial in counting]
    return [
        (t.arm.label, tuple(sorted((k, as_typed(v)) for k, v in t.values.items())), t.seed)
        for t in trials(space)
    ]


def _point(trial: TrialRow) -> _Point:
    return trial.arm, tuple(sorted(trial.values.items())), trial.seed


def _better(trial: TrialRow, known: TrialRow | None) -> bool:
    """Whether a trial counts rather than what is known of it already.

    A divergence is made up for by a finish with the same settings alone.
    """
    if known is None or known.state == "not run":
        return True
    if known.state == "finished" or trial.state != "finished":
        return False
    return known.state != "diverged" or known.configuration == trial.configuration


def _sweep(tracked: Tracked, run: TrackedRun, given: Mapping[str, Corpus]) -> SpaceResults:
    data = tracked.json(run.id, "space.json")
    if data is None:
        raise UserError(f"sweep {run.id} has no space.json: repeat its command, which attaches it")
    space = space_of(data, f"sweep {run.id}")
    reader = _Reader(tracked, space.metric)
    found = SpaceResults(
        space,
        run.tags["raysq.task"],
        f"sweep {run.id}",
        [reader.trial(trial) for trial in tracked.runs("trial", run.id)],
        unfinished=run.status != "FINISHED",
        run_id=run.id,
    )
    found.references = _references(found, run.tags.get("raysq.data_dir"), given)
    return found


class _StageRecord(Record):
    """What is needed of a stage.json."""

    remedy = _REMEDY

    algorithm: str
    identity: str
    parents: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Stage:
    """A stage's run, read."""

    row: StageRow
    identity: str
    parents: list[str]
    """Identities of the stages that it took networks from."""
    scores: Mapping[str, Mapping[str, float]]
    """Closing scores by split."""


class _Reader:
    """Reads the trials of a sweep; stages that several share are read once."""

    def __init__(self, tracked: Tracked, metric: str) -> None:
        self._tracked = tracked
        self._curves = [f"dev/{name}" for name in dict.fromkeys((metric, *_CURVES))]
        self._stages: dict[str, _Stage | None] = {}

    def trial(self, run: TrackedRun) -> TrialRow:
        tags = run.tags
        ids = _tagged(tags, "raysq.stage.")
        final = tags.get("raysq.final", "")
        judged = self._stage(ids.get(final, ""))
        unended: State = "unfinished" if run.status == "RUNNING" else "failed"
        if judged is not None:  # a sweep that goes on closes its trials at its end, and each stage at once
            unended = judged.row.state
        text = self._tracked.text(ids[final], "hypotheses/test.txt") if judged else None
        return TrialRow(
            arm=_tag(run, "raysq.arm"),
            values=_tagged(tags, "raysq.axis."),
            seed=int(_tag(run, "raysq.seed", r"\d{1,18}")),
            state=_STATES.get(tags.get("raysq.state", ""), unended),
            recipe=tags.get("raysq.recipe", ""),
            data=_tag(run, "raysq.data", r"\w*") if "raysq.data" in tags else "",
            configuration=tags.get("raysq.configuration", ""),
            started=run.started,
            final=final,
            dev=judged.scores["dev"] if judged else _scores(run.metrics, "dev_best/"),
            test=judged.scores["test"] if judged else _scores(run.metrics, "test_best/"),
            stages=self._in_order(run.id, [self._stage(run_id) for run_id in ids.values()]),
            hypotheses=None if text is None else text.removesuffix("\n").split("\n"),
        )

    def _in_order(self, trial_id: str, stages: Sequence[_Stage | None]) -> list[StageRow]:
        """Finished stages in the order of training, each with the names of those it came after."""
        known = {stage.identity: stage for stage in stages if stage is not None}
        graph = {key: [p for p in known[key].parents if p in known] for key in sorted(known)}
        try:
            order = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            raise UserError(f"the stages of run {trial_id} start from each other: {_REMEDY}") from error
        return [
            known[key].row.model_copy(update={"after": [known[p].row.name for p in graph[key]]})
            for key in order
        ]

    def _stage(self, run_id: str) -> _Stage | None:
        """A stage by its run; None: not finished, not in this store, or unknown."""
        if run_id not in self._stages:
            self._stages[run_id] = self._read_stage(run_id)
        return self._stages[run_id]

    def _read_stage(self, run_id: str) -> _Stage | None:
        if not run_id or self._tracked.run(run_id) is None:
            return None
        found, said = (self._tracked.text(run_id, name) for name in (RESULT, STAGE))
        if found is None or said is None:
            return None
        place = f"{RESULT} of run {run_id}"
        result = parse_record(found, StageResultRecord, place, _REMEDY).model_dump()
        record = parse_record(said, _StageRecord, f"{STAGE} of run {run_id}")
        row = {
            **{name: result.get(name) for name in ("name", "state", "updates", "best_update", "seconds")},
            "algorithm": record.algorithm,
            "after": [],
            "stopped_by": result.get("stopped_by", ""),
            "control": "like" in record.parents,
            "reward_calls": result.get("reward_calls"),
            "calibration": result["dev"].get("calibration", []),
            "gradient_noise": result.get("gradient_noise") or {},
        }
        try:
            made = StageRow.model_validate(_rounded(row))
        except ValidationError as error:
            raise UserError(
                f"{place} is of another version of raysq ({first_reason(error)}): {_REMEDY}"
            ) from error
        parents = [identity for role, identity in record.parents.items() if role != "like"]
        row_with_curve = made.model_copy(update={"curve": self._curve(run_id)})
        scores = {split: _numbers(result[split]) for split in ("dev", "test")}
        return _Stage(row_with_curve, record.identity, parents, scores)

    def _curve(self, run_id: str) -> list[Evaluation]:
        history = self._tracked.history(run_id, [*self._curves, "seconds", "reward_calls"])
        points = []
        for update, numbers in history.items():
            scores = _scores(numbers, "dev/")
            if scores:
                seconds, calls = (numbers.get(name) for name in ("seconds", "reward_calls"))
                points.append(
                    Evaluation(update=update, seconds=_rounded(seconds), reward_calls=calls, scores=scores)
                )
        return points


def _references(found: SpaceResults, data_dir: str | None, given: Mapping[str, Corpus]) -> list[str] | None:
    """The test references of the data that a sweep's trials share; None, and a note, where they are away."""
    corpus = given.get(found.data)
    if corpus is None and data_dir is not None:
        # moved or removed since: the note below says what to do
        with suppress(UserError, Unfinished, ValueError):
            corpus = Corpus.load(placed(data_dir))
    if corpus is None or corpus.digest != found.data:
        if found.data:
            found.notes.append(
                "No bootstrap over sentences: the prepared data are not where they were; give --data-dir."
            )
        return None
    return _test_references(corpus)


def _test_references(corpus: Corpus) -> list[str]:
    split = corpus.splits["test"]
    return ["\t".join(split.reference_texts(i)) for i in range(len(split))]


def _tag(run: TrackedRun, name: str, pattern: str = ".+") -> str:
    """A tag that a run must have, of this form. Raises UserError."""
    value = run.tags.get(name)
    if value is None or not re.fullmatch(pattern, value):
        said = "no such tag" if value is None else value
        raise UserError(f"run {run.id}: tag {name} is not what raysq wrote ({said}): {_REMEDY}")
    return value


def _tagged(tags: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The tags below a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tags.items() if name.startswith(prefix)}


def _scores(metrics: Mapping[str, float], prefix: str) -> dict[str, float]:
    """The metrics below a prefix by the rest of their names."""
    return _numbers({n.removeprefix(prefix): value for n, value in metrics.items() if n.startswith(prefix)})


def _numbers(values: Mapping[str, object]) -> dict[str, float]:
    """Those of some values that are finite floats, rounded."""
    return {
        name: _rounded(value)
        for name, value in values.items()
        if isinstance(value, float) and abs(value) < _INFINITE
    }


def _rounded(value: Any) -> Any:
    """JSON with its numbers rounded: what is kept as rows gives the same report again."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, list):
        return [_rounded(element) for element in value]
    if isinstance(value, dict):
        return {key: _rounded(element) for key, element in value.items()}
    return value
