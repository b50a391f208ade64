"""Run storage read from files alone; folders as the commands write them."""

import json
import os
from pathlib import Path

import pytest

from raysq.claim import claim
from raysq.config import UserError
from raysq.inventory import is_run, read_stage, take_inventory
from raysq.records import write_plan
from raysq.training.journal import Journal

ROLES = {"mle": {}, "critic": {"policy": "a"}, "erac": {"policy": "a", "critic": "b"}}
ROLES["continued_mle"] = {"policy": "a", "like": "c"}


def make_stage(store: Path, name: str, *checkpoints: int, evaluations: dict[int, dict] | None = None) -> Path:
    """A stage that was begun: its claim, record, journal and (empty) checkpoints."""
    folder = store / f"{name}-{'0' * 12}-{'1' * 8}"
    claim(folder, "it", "wait").close()
    record = {"stage": name, "algorithm": name.title(), "seed": 3, "version": "v", "run_id": f"id-{name}"}
    (folder / "stage.json").write_text(json.dumps({**record, "parents": ROLES[name]}))
    for step in checkpoints:
        (folder / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    if evaluations:
        with Journal(folder / "journal.jsonl") as journal:
            for step, metrics in evaluations.items():
                journal.write(step, metrics)
    return folder


def finish(stage: Path, best: int, updates: int, dev: dict, test: dict, state: str = "finished") -> None:
    scores = {"dev": dev, "test": test}
    result = {"name": stage.name.split("-")[0], "state": state, "updates": updates, "best_update": best}
    (stage / "result.json").write_text(json.dumps({**result, **scores}))


def make_run(folder: Path, *stages: Path, finished: bool = False) -> Path:
    claim(folder, "it", "wait").close()
    (folder / "config.json").write_text('{"task": "demo", "seed": 3, "tracking_uri": "http://me:pw@host:5"}')
    write_plan(folder, "erac", {stage.name.split("-")[0]: stage for stage in stages})
    if finished:
        results = [json.loads((stage / "result.json").read_text()) for stage in stages]
        entries = [{**r, "folder": str(stage)} for r, stage in zip(results, stages, strict=True)]
        (folder / "result.json").write_text(json.dumps({"stages": entries}))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "stages"


def finished_stages(store: Path) -> list[Path]:
    stages = [make_stage(store, name, 4, 6) for name in ("mle", "critic", "erac", "continued_mle")]
    finish(stages[0], 6, 6, {"bleu": 30.0, "sample_bleu": 20.0}, {"bleu": 31.0})
    finish(stages[1], 4, 6, {"td_error": 0.5}, {})
    finish(stages[2], 6, 6, {"bleu": 33.0, "td_error": 0.4}, {"bleu": 32.5})
    finish(stages[3], 6, 6, {"bleu": 30.5}, {"bleu": 31.5})
    return stages


def test_a_finished_run_is_scored_by_its_last_policy_that_is_no_control(store: Path) -> None:
    make_run(store.parent / "one", *finished_stages(store), finished=True)
    (run,) = take_inventory(store.parent).runs
    assert (run.workflow, run.task, run.seed, run.state, run.at) == ("erac", "demo", 3, "finished", None)
    assert run.tracking_uri == "http://host:5"
    assert [model.name for model in run.models] == ["mle", "erac"]
    assert (run.models[1].metric, run.models[1].dev, run.models[1].test) == ("bleu", 33, 32.5)
    critic = run.stages[1]
    assert (critic.state, critic.metric, critic.dev, critic.test) == ("finished", "td_error", 0.5, None)
    assert (critic.best_update, critic.checkpoints, critic.run_id) == (4, (4, 6), "id-critic")
    assert run.damage == ()


def test_an_interrupted_run_stands_at_its_first_unfinished_stage(store: Path) -> None:
    mle, critic, erac, _ = finished_stages(store)
    (critic / "result.json").unlink()
    with Journal(critic / "journal.jsonl") as journal:
        journal.write(4, {"dev/td_error": 0.6, "dev/best": 0.6})
        journal.write(6, {"dev/td_error": 0.7, "dev/best": 0.6})
        journal.write(9, {"train/td_error": 0.2})
    (erac / "result.json").unlink()
    make_run(store.parent / "one", mle, critic, erac)
    (run,) = take_inventory(store.parent).runs
    assert run.state == "interrupted"
    assert run.at is not None
    assert (run.at.name, run.at.update, run.at.metric, run.at.dev) == ("critic", 9, "td_error", 0.6)
    assert [model.name for model in run.models] == ["mle"]


def test_all_stages_done_without_their_result_is_interrupted(store: Path) -> None:
    stages = finished_stages(store)
    run = make_run(store.parent / "one", *stages, finished=True)
    assert take_inventory(store.parent).runs[0].state == "finished"
    write_plan(run, "erac", {"mle": stages[0], "erac": stages[2]})  # result.json is another command's
    assert take_inventory(store.parent).runs[0].state == "interrupted"


def test_a_diverged_stage_makes_the_run_diverged(store: Path) -> None:
    stages = finished_stages(store)
    finish(stages[2], 6, 6, {"bleu": 33.0}, {"bleu": 32.5}, state="diverged")
    make_run(store.parent / "one", *stages, finished=True)
    (run,) = take_inventory(store.parent).runs
    assert (run.state, run.stages[2].state) == ("diverged", "diverged")


def test_a_live_run_is_training_and_its_next_stages_wait(store: Path) -> None:
    mle = make_stage(store, "mle", 4)
    critic = store / "critic-000000000000-11111111"
    run = make_run(store.parent / "one", mle, critic)
    me = f"process {os.getpid()} on {os.uname().nodename}"
    with claim(run, "it", "wait"), claim(mle, "it", "wait"), claim(critic, "it", "wait"):
        (entry,) = take_inventory(store.parent).runs
    assert (entry.state, entry.holder) == ("training", me)
    assert [(s.state, s.holder) for s in entry.stages] == [("training", me), ("waiting", me)]
    assert take_inventory(store.parent).runs[0].state == "interrupted"


def test_a_run_that_ended_before_anything_began(tmp_path: Path) -> None:
    claim(tmp_path / "one", "it", "wait").close()
    (tmp_path / "one" / "run_id").write_text("abc")
    (run,) = take_inventory(tmp_path).runs
    assert (run.state, run.workflow, run.seed, run.damage) == ("not begun", "", None, ())


def test_bytes_and_changes_of_nested_folders_are_told_apart(tmp_path: Path) -> None:
    stage = make_stage(tmp_path / "run" / "stages", "mle")
    run = make_run(tmp_path / "run", stage)
    for file in (*run.iterdir(), *stage.iterdir()):
        if file.is_file():
            os.utime(file, (1000, 1000))
    os.utime(stage / "claim", (9000, 9000))  # looking after a stage does not make it younger
    (stage / "checkpoints" / "step-00000002").mkdir(parents=True)
    weights = stage / "checkpoints" / "step-00000002" / "tensors.safetensors"
    weights.write_bytes(bytes(5000))
    os.utime(weights, (2000, 2000))
    (entry,) = take_inventory(tmp_path).runs
    (inside,) = entry.stages
    own = sum((run / name).stat().st_size for name in ("claim", "config.json", "plan.json"))
    assert inside.size == 5000 + sum((stage / name).stat().st_size for name in ("claim", "stage.json"))
    assert entry.size == own + inside.size
    assert (inside.changed, entry.changed) == (2000, 2000)


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    make_run(tmp_path / "elsewhere" / "one")
    make_run(tmp_path / "root" / "two")
    (tmp_path / "root" / "one").symlink_to(tmp_path / "elsewhere" / "one")
    assert [run.folder.name for run in take_inventory(tmp_path / "root").runs] == ["two"]


def test_prepared_text_and_mlflow_artifacts_are_no_runs(tmp_path: Path) -> None:
    make_run(tmp_path / "one")
    claim(tmp_path / "data-demo", "it", "wait").close()
    (tmp_path / "data-demo" / "manifest.json").write_text("{}")
    artifacts = tmp_path / "artifacts" / "id" / "artifacts"
    artifacts.mkdir(parents=True)
    (artifacts / "config.json").write_text('{"task": "demo", "seed": 3}')
    (artifacts / "stage.json").write_text("{}")
    inventory = take_inventory(tmp_path)
    assert [run.folder.name for run in inventory.runs] == ["one"]
    assert inventory.stages == ()


def test_what_else_commands_claim_is_no_run(tmp_path: Path) -> None:
    make_run(tmp_path / "one")
    for name in ("downloads", ".data-demo.partial", "claimed"):
        claim(tmp_path / name, "it", "wait").close()
    (tmp_path / ".data-demo.partial" / "result.json").write_text("{}")
    (tmp_path / "downloads" / "0123-text.tar.gz").touch()
    with claim(tmp_path / "claimed", "it", "wait"), claim(tmp_path / ".data-demo.partial", "it", "wait"):
        inventory = take_inventory(tmp_path)
    assert [run.folder.name for run in inventory.runs] == ["one"]
    assert [path.name for path in inventory.holders] == ["claimed"]
    assert not is_run(tmp_path / "downloads")


def test_a_run_in_a_folder_with_a_dot_is_seen(tmp_path: Path) -> None:
    make_run(tmp_path / ".mine")
    assert [run.folder.name for run in take_inventory(tmp_path).runs] == [".mine"]


@pytest.mark.parametrize("root", ["empty", "absent"])
def test_a_folder_without_runs_is_the_users_mistake(tmp_path: Path, root: str) -> None:
    claim(tmp_path / "empty", "it", "wait").close()
    with pytest.raises(UserError, match=f"{root} holds no runs: name the folder that does with --root"):
        take_inventory(tmp_path / root)


def test_stages_that_no_run_refers_to_are_found(store: Path) -> None:
    mle, critic, *_ = finished_stages(store)
    make_run(store.parent / "one", mle)
    make_run(store.parent / "two", mle, critic)
    inventory = take_inventory(store.parent)
    users = {s.name: sorted(r.folder.name for r in inventory.runs_of(s)) for s in inventory.stages}
    assert users == {"mle": ["one", "two"], "critic": ["two"], "erac": [], "continued_mle": []}


def test_a_run_refers_to_the_stages_of_its_result_too(store: Path) -> None:
    mle, critic, *_ = finished_stages(store)
    run = make_run(store.parent / "one", mle, finished=True)
    write_plan(run, "erac", {"critic": critic})  # another command in the same folder, not finished yet
    (entry,) = take_inventory(store.parent).runs
    assert ([stage.name for stage in entry.stages], entry.state) == (["critic"], "interrupted")
    assert entry.references == (critic, mle)


def test_storage_that_was_moved_keeps_its_references(store: Path, tmp_path: Path) -> None:
    make_run(store.parent / "one", *finished_stages(store), finished=True)
    store.parent.rename(tmp_path / "moved")
    inventory = take_inventory(tmp_path / "moved")
    assert [run.state for run in inventory.runs] == ["damaged"]
    assert [len(inventory.runs_of(stage)) for stage in inventory.stages] == [1, 1, 1, 1]


DEFECTS = {
    "plan.json": ("{", "plan.json is damaged or of another version of raysq (Invalid JSON: EOF"),
    "config.json": ('{"task": "demo"}', "(seed: Field required): repeat the command"),
    "result.json": ('{"stages": 3}', "(stages: Input should be a valid array): repeat the command"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_damaged_files_of_a_run_are_named(store: Path, name: str) -> None:
    text, message = DEFECTS[name]
    run = make_run(store.parent / "one", *finished_stages(store), finished=True)
    (run / name).write_text(text)
    (entry,) = take_inventory(store.parent).runs
    assert (entry.state, entry.readable) == ("damaged", False)
    assert entry.damage[0].startswith(f"{run / name} is damaged")
    assert message in entry.damage[0]


STAGE_DEFECTS = {
    "stage.json": (b"[]", "stage.json is damaged or of another version of raysq (Input should be an object)"),
    "result.json": (b"\xff", "result.json is damaged or of another version of raysq (Invalid JSON"),
    "journal.jsonl": (b"{}\n", "journal.jsonl is damaged at byte 0"),
}


@pytest.mark.parametrize("name", STAGE_DEFECTS)
def test_damaged_files_of_a_stage_are_named_with_it_and_its_run(store: Path, name: str) -> None:
    content, message = STAGE_DEFECTS[name]
    stages = finished_stages(store)
    make_run(store.parent / "one", *stages, finished=True)
    (stages[2] / name).write_bytes(content)
    inventory = take_inventory(store.parent)
    (stage,) = (s for s in inventory.stages if s.name == "erac")
    assert stage.state == inventory.runs[0].state == "damaged"
    assert inventory.runs[0].readable
    assert message in stage.damage[0]
    assert inventory.runs[0].damage == stage.damage


def test_what_is_missing_is_named(store: Path) -> None:
    stages = finished_stages(store)
    run = make_run(store.parent / "one", *stages, finished=True)
    (stages[0] / "checkpoints" / "step-00000006").rmdir()
    assert "the best checkpoint of" in read_stage(stages[0]).damage[0]
    (stages[1] / "stage.json").unlink()
    assert "has no stage.json" in read_stage(stages[1]).damage[0]
    stages[3].rename(store.parent / "away")
    (entry,) = (r for r in take_inventory(store.parent).runs if r.folder == run)
    assert entry.stages[3].state == "missing"
    assert f"stage {stages[3]} is missing" in entry.damage[-1]
    (run / "plan.json").unlink()
    (entry,) = (r for r in take_inventory(store.parent).runs if r.folder == run)
    assert "has no readable plan.json" in entry.damage[0]
