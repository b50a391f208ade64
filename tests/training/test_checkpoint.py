import hashlib
import json
import logging
import math
import os
import threading
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from raysq.config import UserError
from raysq.training import checkpoint
from raysq.training.checkpoint import CheckpointError, CheckpointWriter, best, latest, load, save

TENSORS = {"w": torch.arange(6.0).reshape(2, 3)}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def steps(folder):
    return [int(name.removeprefix("step-")) for name in names(folder)]


def as_bytes(tensor):
    return tensor.reshape(-1).view(torch.uint8)


def test_round_trip_is_exact(tmp_path):
    generator = torch.Generator().manual_seed(1)
    tensors = {
        "float32": torch.randn(3, 4, generator=generator),
        "float64": torch.randn(2, generator=generator, dtype=torch.float64),
        "int64": torch.tensor([2**62 + 1, -5]),
        "bool": torch.tensor([[True], [False]]),
        "bfloat16": torch.randn(5, generator=generator).bfloat16(),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 4),
        "nan": torch.tensor([float("nan"), float("inf"), -0.0]),
    }
    state = {
        "lr": 0.1 + 0.2,
        "epoch": 3,
        "history": [1.5, None, True],
        "optimizer": {"name": "adam", "π": "ß"},
    }
    path = save(tmp_path / "checkpoints", 123, tensors, state, best=True)
    assert path.name == "step-00000123"
    read = load(path)
    assert (read.path, read.step, read.best) == (path, 123, True)
    assert read.state == state
    assert read.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read.tensors[name].dtype == tensor.dtype, name
        assert read.tensors[name].shape == tensor.shape, name
        assert torch.equal(as_bytes(read.tensors[name]), as_bytes(tensor)), name


def test_what_was_loaded_outlives_the_files_and_others_may_read_them(tmp_path):
    path = save(tmp_path, 1, TENSORS, {})
    modes = {file.stat().st_mode & 0o777 for file in path.iterdir()}
    assert len(modes) == 1  # both as the umask has it
    read = load(path)
    mapped = Path("/proc/self/maps")
    assert not mapped.exists() or str(path) not in mapped.read_text()
    assert torch.equal(read.tensors["w"], TENSORS["w"])


def test_views_are_saved_as_they_look_and_tied_tensors_are_refused(tmp_path):
    flat = torch.arange(6.0)
    views = {
        "first": flat[:2],
        "rest": flat[2:],
        "transposed": flat.reshape(2, 3).T,
        "wide": flat[:1].expand(3),
    }
    read = load(save(tmp_path, 1, views, {}))
    assert read.tensors["rest"].tolist() == [2.0, 3.0, 4.0, 5.0]
    assert read.tensors["transposed"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert read.tensors["wide"].tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="'a' and 'b' are one piece of memory"):
        save(tmp_path, 2, {"a": flat, "b": flat.view(6)}, {})
    assert steps(tmp_path) == [1]


@pytest.mark.parametrize("state", [{"adam": {0: 1}}, {"list": [{1: 2}]}, {"x": float("nan")}])
def test_a_state_that_json_would_change_is_refused(tmp_path, state):
    with pytest.raises(ValueError, match=r"not text|JSON compliant"):
        save(tmp_path, 1, TENSORS, state)
    assert not list(tmp_path.iterdir())


def test_a_kill_before_the_rename_leaves_the_previous_one(tmp_path, monkeypatch):
    save(tmp_path, 1, TENSORS, {"a": 1})

    class Killed(BaseException):
        pass

    def kill(path, target):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", kill)
        with pytest.raises(Killed):
            save(tmp_path, 2, TENSORS, {"a": 2})
    assert len(names(tmp_path)) == 2  # the half-written one is there, under a temporary name
    read = latest(tmp_path)
    assert read is not None
    assert (read.step, read.state) == (1, {"a": 1})
    save(tmp_path, 3, TENSORS, {})
    assert names(tmp_path) == ["step-00000001", "step-00000003"]


def test_the_same_step_is_replaced(tmp_path):
    save(tmp_path, 5, TENSORS, {"a": 1})
    path = save(tmp_path, 5, TENSORS, {"a": 2})
    assert load(path).state == {"a": 2}
    assert names(tmp_path) == ["step-00000005"]


def flip(file, offset):
    content = bytearray(file.read_bytes())
    content[offset] ^= 0x10
    file.write_bytes(content)


DAMAGES = {
    "tensors truncated": lambda path: os.truncate(path / "tensors.safetensors", 40),
    "tensors flipped": lambda path: flip(path / "tensors.safetensors", -2),
    "tensors missing": lambda path: (path / "tensors.safetensors").unlink(),
    "state truncated": lambda path: os.truncate(path / "state.json", 40),
    "state flipped": lambda path: (path / "state.json").write_text(
        (path / "state.json").read_text().replace("0.625", "0.626")
    ),
    "state not text": lambda path: flip(path / "state.json", 3) or flip(path / "state.json", 0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_and_passed_over(tmp_path, damage, caplog):
    save(tmp_path, 1, TENSORS, {"lr": 0.5})
    newest = save(tmp_path, 2, TENSORS, {"lr": 0.625})
    DAMAGES[damage](newest)
    with pytest.raises(CheckpointError, match=r"is damaged .*remove that folder") as caught:
        load(newest)
    assert str(newest) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UserError)
    with caplog.at_level(logging.WARNING):
        read = latest(tmp_path)
    assert read is not None
    assert read.step == 1
    assert str(newest) in caplog.text


def test_other_formats_and_versions_are_refused(tmp_path):
    path = save(tmp_path, 1, TENSORS, {})
    header = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**header, "version": 2}))
    with pytest.raises(
        CheckpointError, match="format version 2, this raysq reads 1; use the raysq that wrote it"
    ):
        load(path)
    (path / "state.json").write_text('{"epoch": 1}')
    with pytest.raises(CheckpointError, match="no checkpoint of raysq"):
        load(path)
    with pytest.raises(CheckpointError, match=r"no state\.json"):
        load(tmp_path)


def test_latest_never_starts_afresh_over_unreadable_checkpoints(tmp_path):
    assert latest(tmp_path / "absent") is None
    assert latest(tmp_path) is None
    for step in (1, 2):
        flip(save(tmp_path, step, TENSORS, {}) / "tensors.safetensors", -1)
    with pytest.raises(CheckpointError, match="step-00000002 is damaged"):
        latest(tmp_path)


def test_latest_does_not_pass_over_what_it_may_not_read(tmp_path, monkeypatch):
    save(tmp_path, 1, TENSORS, {})
    save(tmp_path, 2, TENSORS, {})
    original = Path.read_bytes

    def refuse(path):
        if path.parent.name == "step-00000002":
            raise PermissionError(13, "Permission denied")
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(CheckpointError, match=r"cannot read checkpoint .*step-00000002: Permission denied"):
        latest(tmp_path)


def test_the_last_two_and_the_best_are_kept(tmp_path):
    with CheckpointWriter(tmp_path) as writer:
        for step, is_best in [(1, True), (2, True), (3, False), (4, False), (5, False)]:
            writer.submit(step, TENSORS, {"step": step}, best=is_best)
            writer.wait()
            assert len(steps(tmp_path)) <= 3
    assert steps(tmp_path) == [2, 4, 5]
    found = best(tmp_path)
    assert found is not None
    assert found.step == 2
    newest = latest(tmp_path)
    assert newest is not None
    assert (newest.step, newest.best) == (5, False)


def test_there_may_be_no_best(tmp_path):
    save(tmp_path, 1, TENSORS, {})
    assert best(tmp_path) is None


def test_going_on_from_an_earlier_one_drops_the_abandoned_future(tmp_path):
    with CheckpointWriter(tmp_path) as writer:
        for step in (10, 20):
            writer.submit(step, TENSORS, {})
    flip(tmp_path / "step-00000020" / "tensors.safetensors", -1)
    with CheckpointWriter(tmp_path) as writer:
        writer.submit(15, TENSORS, {})
    assert steps(tmp_path) == [10, 15]


def test_a_submitted_checkpoint_holds_the_moment_of_its_submission(tmp_path, monkeypatch):
    gate = threading.Event()
    original = checkpoint.save_file

    def wait_then_save(*arguments):
        assert gate.wait(10)
        original(*arguments)

    monkeypatch.setattr(checkpoint, "save_file", wait_then_save)
    weight, state = torch.nn.Parameter(torch.ones(3)), {"history": [1]}
    with CheckpointWriter(tmp_path) as writer:
        writer.submit(1, {"w": weight}, state)  # returns although the file cannot be written yet
        with torch.no_grad():
            weight.zero_()
        state["history"].append(2)
        gate.set()
    read = latest(tmp_path)
    assert read is not None
    assert read.tensors["w"].tolist() == [1.0, 1.0, 1.0]
    assert read.state == {"history": [1]}


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_told_at_the_next_call_and_spoils_nothing(tmp_path, monkeypatch, error):
    def full(tensors, file):
        file.write_bytes(b"half")
        raise error

    writer = CheckpointWriter(tmp_path)
    writer.submit(1, TENSORS, {})
    writer.wait()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        writer.submit(2, TENSORS, {})
        with pytest.raises(UserError, match=r"step-00000002: .*No space left on device.*; free space"):
            writer.submit(3, TENSORS, {})
    assert names(tmp_path) == ["step-00000001"]  # what was half-written gave its space back
    writer.submit(3, TENSORS, {})  # an error is raised once
    writer.close()
    assert steps(tmp_path) == [1, 3]


def edit_header(path, **changes):
    """Change the header, and sign it as it is then."""
    header = json.loads((path / "state.json").read_text()) | changes
    header = {name: value for name, value in header.items() if name != "sha256" and value != "gone"}
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    header["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (path / "state.json").write_text(json.dumps(header))


@pytest.mark.parametrize(
    "changes", [{"step": "5"}, {"best": "gone"}, {"state": [1]}, {"tensors_sha256": "gone"}]
)
def test_a_header_that_lacks_something_is_damaged_though_it_is_signed(tmp_path, changes):
    path = save(tmp_path, 5, TENSORS, {"update": 5})
    edit_header(path, note=math.nan)
    assert load(path).state == {"update": 5}
    edit_header(path, **changes)
    with pytest.raises(CheckpointError, match=f"damaged .state.json has no {next(iter(changes))}"):
        load(path)


def test_a_header_nested_without_end_and_a_pipe_are_refused(tmp_path):
    path = save(tmp_path, 5, TENSORS, {})
    (path / "state.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=r"damaged .state\.json: it is nested too deeply"):
        latest(tmp_path)
    for name in ("tensors.safetensors", "state.json"):
        path = save(tmp_path, 5, TENSORS, {})
        (path / name).unlink()
        os.mkfifo(path / name)
        with pytest.raises(CheckpointError, match="no regular file; make it readable"):
            latest(tmp_path)
