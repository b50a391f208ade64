import json
import os
from pathlib import Path

import pytest

from raysq.config import UserError
from raysq.records import AccountRecord, PlanRecord, StageRecord, StageResultRecord, read_record, write_plan

STAGE = {"stage": "erac", "algorithm": "ActorCritic", "seed": 3, "version": "v", "run_id": "id"}
RESULT = {"name": "mle", "state": "finished", "updates": 6, "best_update": 4}


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_plan(tmp_path, "erac", {"mle": tmp_path / "b", "erac": tmp_path / "a"})
    plan = read_record(tmp_path / "plan.json", PlanRecord)
    assert plan.workflow == "erac"
    assert list(plan.stages.items()) == [("mle", tmp_path / "b"), ("erac", tmp_path / "a")]


def test_what_has_no_field_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(
        '{"name": "mle", "state": "finished", "updates": 6, "best_update": 4, "seconds": 0.1,'
        ' "dev": {"bleu": 30.000000000000004}, "test": {}, "scores": [[2, 1.5]]}'
    )
    assert read_record(path, StageResultRecord).model_dump() == {
        **RESULT,
        "seconds": 0.1,
        "dev": {"bleu": 30.000000000000004},
        "test": {},
        "scores": [[2, 1.5]],
    }


def test_a_control_is_like_another_stage() -> None:
    of = {"policy": "id of mle", "like": "id of erac"}
    assert StageRecord.model_validate({**STAGE, "parents": of}).control
    assert not StageRecord.model_validate({**STAGE, "parents": {"policy": "id of mle"}}).control


def test_a_stage_with_hypotheses_has_a_policy() -> None:
    assert StageResultRecord.model_validate({**RESULT, "dev": {}, "test": {"bleu": 1.0}}).has_policy
    assert not StageResultRecord.model_validate({**RESULT, "dev": {}, "test": {"td_error": 1.0}}).has_policy


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Invalid JSON: EOF while parsing a value at line 1 column 0"),
        (b"\xff", "Invalid JSON: expected value at line 1 column 1"),
        (b"[]", "Input should be an object"),
        (b'{"workflow": "erac"}', "stages: Field required"),
        (b'{"workflow": "erac", "stages": []}', "stages: Input should be an object"),
    ],
)
def test_a_damaged_file_is_named_with_the_reason_and_the_remedy(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as told:
        read_record(path, PlanRecord)
    assert str(told.value) == (
        f"{path} is damaged or of another version of raysq ({reason}): "
        "repeat the command that made it, which writes it again"
    )


def test_a_file_that_is_not_there_or_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "plan.json", PlanRecord)
    (tmp_path / "plan.json").mkdir()
    with pytest.raises(UserError, match=r"plan\.json cannot be read \(Is a directory\): make it readable"):
        read_record(tmp_path / "plan.json", PlanRecord)


@pytest.mark.parametrize(
    "score", [{"bleu": "12"}, {"td_error": [1.0]}, {"signature": 3}, {"calibration": {}}]
)
def test_what_is_no_score_is_damage(tmp_path: Path, score: dict[str, object]) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps({**RESULT, "dev": {"bleu": 1.5, "signature": "x"}, "test": score}))
    with pytest.raises(
        UserError, match=rf"result\.json is damaged .*test: .*{next(iter(score))} is no score"
    ):
        read_record(path, StageResultRecord)


@pytest.mark.parametrize("missing", ["stopped_by", "warnings", "seconds"])
def test_a_result_that_is_used_says_how_the_stage_went(tmp_path: Path, missing: str) -> None:
    account = {"stopped_by": "", "warnings": ["a"], "seconds": 1.5, "dev": {}, "test": {}, **RESULT}
    path = tmp_path / "result.json"
    path.write_text(json.dumps(account))
    assert read_record(path, AccountRecord).warnings == ["a"]
    path.write_text(json.dumps({k: v for k, v in account.items() if k != missing}))
    with pytest.raises(UserError, match=rf"result\.json is damaged .*\({missing}: Field required\): remove"):
        read_record(path, AccountRecord)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plan.json")
    with pytest.raises(UserError, match=r"plan\.json cannot be read \(it is no regular file\)"):
        read_record(tmp_path / "plan.json", PlanRecord)
