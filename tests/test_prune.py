"""What may be removed from run storage, and what never is; stages with real checkpoints of one tensor."""

import json
import os
import time
from pathlib import Path

import pytest
import torch

from raysq.claim import claim
from raysq.config import UserError
from raysq.inventory import take_inventory
from raysq.prune import Pruned, prune
from raysq.records import write_plan
from raysq.training import checkpoint
from raysq.training.journal import Journal

DAY = 24 * 3600


def make_stage(store: Path, name: str, steps: dict[int, bool], *, finished: int | None = None) -> Path:
    """A stage with checkpoints at ``steps`` (best so far or not), finished with its best at an update."""
    folder = store / f"{name}-{'0' * 12}-{'1' * 8}"
    claim(folder, "it", "wait").close()
    record = {"stage": name, "algorithm": "Mle", "seed": 1, "version": "v", "run_id": "r", "parents": {}}
    (folder / "stage.json").write_text(json.dumps(record))
    best = -1
    for step, is_best in steps.items():
        best = step if is_best else best
        tensors = {"policy.weight": torch.full((1000,), float(step))}
        checkpoint.save(folder / "checkpoints", step, tensors, {"best_update": best}, best=is_best)
    if finished is not None:
        result = {"name": name, "state": "finished", "updates": max(steps), "best_update": finished}
        (folder / "result.json").write_text(json.dumps({**result, "dev": {}, "test": {}}))
    return folder


def make_run(folder: Path, *stages: Path) -> Path:
    claim(folder, "it", "wait").close()
    (folder / "config.json").write_text('{"task": "demo", "seed": 1}')
    write_plan(folder, "erac", {stage.name.split("-")[0]: stage for stage in stages})
    return folder


def pruned(
    root: Path, *, older_than: float = 0, unreferenced: bool = False, really: bool = True
) -> list[Pruned]:
    return prune(take_inventory(root), older_than=older_than, unreferenced=unreferenced, really=really)


def kept(stage: Path) -> list[str]:
    return sorted(path.name for path in (stage / "checkpoints").iterdir())


def test_a_finished_stage_keeps_its_best(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, "mle", {2: True, 4: True, 6: False}, finished=4)
    (found,) = pruned(tmp_path)
    assert [path.name for path in found.paths] == ["step-00000002", "step-00000006"]
    assert found.size > 2 * 4000  # two of a thousand float32 numbers
    assert kept(stage) == ["step-00000004"]
    assert pruned(tmp_path) == []


def test_an_interrupted_stage_keeps_its_best_and_its_latest(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, "mle", {2: True, 4: True, 6: False, 8: False})
    pruned(tmp_path)
    assert kept(stage) == ["step-00000004", "step-00000008"]


def test_an_interrupted_stage_without_a_best_keeps_its_latest(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, "mle", {2: False, 4: False})
    pruned(tmp_path)
    assert kept(stage) == ["step-00000004"]


def test_nothing_is_removed_unless_really(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, "mle", {2: True, 4: False}, finished=2)
    told, done = pruned(tmp_path, really=False), pruned(tmp_path)
    assert told == done
    assert [path.name for path in done[0].paths] == ["step-00000004"]
    assert kept(stage) == ["step-00000002"]


def test_dry_leaves_everything(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    stage = make_stage(tmp_path, "mle", {2: True, 4: False}, finished=2)
    pruned(tmp_path, unreferenced=True, really=False)
    assert kept(stage) == ["step-00000002", "step-00000004"]


def test_what_a_killed_writer_or_prune_left_goes_too(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, "mle", {2: True}, finished=2)
    for name in (".writing-step-00000004", ".removing-step-00000001", "notes"):
        (stage / "checkpoints" / name).mkdir()
    (stage / "checkpoints" / "step-00000009").symlink_to(tmp_path)
    pruned(tmp_path)
    assert kept(stage) == ["notes", "step-00000002", "step-00000009"]


def test_live_commands_are_left_alone(tmp_path: Path) -> None:
    mle = make_stage(tmp_path, "mle", {2: True, 4: False}, finished=2)
    erac = make_stage(tmp_path, "erac", {2: True, 3: False, 4: False})
    other = make_stage(tmp_path, "other", {2: True, 4: False}, finished=2)
    run = make_run(tmp_path / "run", mle, erac)
    with claim(erac, "it", "wait"):
        (found,) = (p for p in pruned(tmp_path, really=False) if p.stage.folder == erac)
        assert found.left_alone == f"in use by process {os.getpid()} on {os.uname().nodename}"
    with claim(run, "it", "wait"), claim(erac, "it", "wait"):
        pruned(tmp_path)
        assert len(kept(mle)) == 2  # the live run starts from it
        assert len(kept(erac)) == 3
        assert len(kept(other)) == 1
        with pytest.raises(UserError, match=r"--unreferenced: .*run is in use by process"):
            pruned(tmp_path, unreferenced=True)


def test_a_stage_that_is_claimed_after_the_inventory_is_left_alone(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    stage = make_stage(tmp_path, "mle", {2: True, 4: False}, finished=2)
    inventory = take_inventory(tmp_path)
    with claim(stage, "it", "wait"):
        (found,) = prune(inventory, older_than=0, unreferenced=True, really=True)
    assert "is in use by process" in found.left_alone
    assert len(kept(stage)) == 2


def damage_tensors(path: Path) -> None:
    (path / "tensors.safetensors").write_bytes(b"")


def test_where_the_best_is_damaged_nothing_goes(tmp_path: Path) -> None:
    finished = make_stage(tmp_path, "mle", {2: True, 4: True, 6: False}, finished=4)
    damage_tensors(finished / "checkpoints" / "step-00000004")
    interrupted = make_stage(tmp_path, "erac", {2: True, 4: True, 6: False})
    damage_tensors(interrupted / "checkpoints" / "step-00000004")
    found = pruned(tmp_path)
    assert [p.paths for p in found] == [(), ()]
    assert all("(update 4) is missing or damaged" in p.left_alone for p in found)
    assert len(kept(finished)) == len(kept(interrupted)) == 3


def test_the_latest_whole_one_is_kept_where_the_newest_is_damaged(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, "mle", {2: True, 4: False, 6: False, 8: False})
    damage_tensors(stage / "checkpoints" / "step-00000008")
    pruned(tmp_path)
    assert kept(stage) == ["step-00000002", "step-00000006"]


def test_older_than_passes_over_what_changed_since(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, "mle", {2: True, 4: False}, finished=2)
    for path in stage.rglob("*"):
        os.utime(path, (time.time() - 3 * DAY,) * 2)
    assert pruned(tmp_path, older_than=4) == []
    assert len(pruned(tmp_path, older_than=2)) == 1


def test_stages_that_no_run_refers_to_go_whole_only_when_asked(tmp_path: Path) -> None:
    mle, old = (make_stage(tmp_path, name, {2: True}, finished=2) for name in ("mle", "old"))
    make_run(tmp_path / "run", mle)
    assert pruned(tmp_path) == []
    assert [p.paths for p in pruned(tmp_path, unreferenced=True)] == [(old,)]
    assert sorted(p.name for p in tmp_path.iterdir()) == [mle.name, "run"]


def test_the_model_of_a_result_is_kept_while_another_command_in_its_folder_is_not_finished(
    tmp_path: Path,
) -> None:
    old, new = (make_stage(tmp_path, name, {2: True}, finished=2) for name in ("old", "new"))
    run = make_run(tmp_path / "run", new)
    entry = json.loads((old / "result.json").read_text()) | {"folder": str(old)}
    (run / "result.json").write_text(json.dumps({"stages": [entry]}))
    assert pruned(tmp_path, unreferenced=True) == []
    assert kept(old) == kept(new) == ["step-00000002"]


def test_without_a_run_no_stage_counts_as_unreferenced(tmp_path: Path) -> None:
    stage = make_stage(tmp_path / "stages", "mle", {2: True}, finished=2)
    make_run(tmp_path / "run", stage)
    with pytest.raises(UserError, match=r"--unreferenced: there is no run under .*stages, .* with --root"):
        pruned(tmp_path / "stages", unreferenced=True)
    assert kept(stage) == ["step-00000002"]


def test_a_command_that_has_only_claimed_its_folder_may_take_up_any_stage(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    stage = make_stage(tmp_path, "mle", {2: True}, finished=2)
    with (
        claim(tmp_path / "next", "it", "wait"),
        pytest.raises(UserError, match=r"--unreferenced: .*next is in use by process"),
    ):
        pruned(tmp_path, unreferenced=True)
    assert stage.exists()


def test_a_stage_half_removed_by_a_prune_that_was_killed_goes(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    stage = make_stage(tmp_path, "mle", {2: True})
    half = stage.rename(stage.with_name(f".removing-{stage.name}"))
    assert [p.paths for p in pruned(tmp_path, unreferenced=True)] == [(half,)]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("unreferenced", [False, True])
def test_a_learner_that_outlives_its_driver_is_left_alone(tmp_path: Path, unreferenced: bool) -> None:
    make_run(tmp_path / "run")
    stage = make_stage(tmp_path, "mle", {2: True, 4: False, 6: False})
    with Journal(stage / "journal.jsonl") as journal:
        journal.write(6, {"loss/mle": 1.0})
        (found,) = pruned(tmp_path, unreferenced=unreferenced)
        assert found.paths == ()
        assert "another learner is still writing to" in found.left_alone
        assert len(kept(stage)) == 3
    assert [len(p.paths) for p in pruned(tmp_path)] == [1]


def test_pruning_does_not_make_a_stage_younger(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, "mle", {2: True, 4: False}, finished=2)
    Journal(stage / "journal.jsonl").close()
    for path in stage.rglob("*"):
        os.utime(path, (1000, 1000))
    pruned(tmp_path)
    assert [entry.changed for entry in take_inventory(tmp_path).stages] == [1000]


def test_a_checkpoint_written_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make_stage(tmp_path, "mle", {2: True, 4: False, 6: False})
    latest = checkpoint.latest

    def then_one_more(folder: Path) -> checkpoint.Checkpoint | None:
        found = latest(folder)
        checkpoint.save(folder, 8, {"policy.weight": torch.zeros(1)}, {"best_update": 2})
        return found

    monkeypatch.setattr(checkpoint, "latest", then_one_more)
    pruned(tmp_path)
    assert kept(stage) == ["step-00000002", "step-00000006", "step-00000008"]


@pytest.mark.parametrize("name", ["plan.json", "result.json"])
def test_unreferenced_needs_every_plan_and_result(tmp_path: Path, name: str) -> None:
    stage = make_stage(tmp_path, "mle", {2: True}, finished=2)
    (make_run(tmp_path / "run", stage) / name).write_text("{")
    with pytest.raises(UserError, match=f"cannot tell which stages are: .*{name} is damaged"):
        pruned(tmp_path, unreferenced=True)
    assert stage.exists()
