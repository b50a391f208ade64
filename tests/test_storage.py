"""Each test on a file system in memory and on an S3 server; "another machine" has other working copies."""

import sys
from pathlib import Path

import pytest

from raysq.addresses import placed
from raysq.config import Unfinished, UserError
from raysq.remote import Remote
from raysq.storage import fetch_file, pull, pull_each, push, writing

CHECKPOINT = "checkpoints/step-00000005"


def write(folder: Path, **texts: str) -> Path:
    """Files by name, ``__`` for a slash and ``_`` for a dot."""
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def save(folder: Path, step: int, text: str = "tensors") -> None:
    """A checkpoint."""
    place = folder / "checkpoints" / f"step-{step:08d}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "tensors.safetensors").write_text(text)
    (place / "state.json").write_text(f"state of {text}")


def content(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Go on as another machine, whose working copies are empty at first."""

    def move(name: str = "other") -> None:
        monkeypatch.setenv("RAYSQ_CACHE", str(tmp_path / name))

    return move


def test_what_was_pushed_is_pulled_on_another_machine(storage: str, elsewhere) -> None:
    folder = write(placed(f"{storage}/a"), journal_jsonl="one\n", hypotheses__test_txt="x", empty_txt="")
    save(folder, 5)
    write(folder, claim="mine", journal_jsonl_delivered_json="{}", **{"_hidden": "x"})
    push(folder)
    before = content(folder)
    elsewhere()
    pull(placed(f"{storage}/a"))
    for apart in ("claim", "journal.jsonl.delivered.json", ".hidden"):
        del before[apart]
    assert content(placed(f"{storage}/a")) == before


def test_only_what_differs_travels(storage: str, elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(placed(f"{storage}/a"), a_txt="1", b_txt="2")
    push(folder)
    sent = transfers(Remote.of(folder), "put_file", monkeypatch)
    write(folder, b_txt="3")
    push(folder)
    push(folder)
    assert sent == ["b.txt"]
    elsewhere()
    pull(placed(f"{storage}/a"))
    write(folder, a_txt="4")  # as long as before
    with monkeypatch.context() as first_machine:
        first_machine.setenv("RAYSQ_CACHE", str(folder.parents[2]))
        push(folder)
    kept = (placed(f"{storage}/a") / "b.txt").stat().st_ino
    pull(placed(f"{storage}/a"))
    assert content(placed(f"{storage}/a")) == {"a.txt": "4", "b.txt": "3"}
    assert (placed(f"{storage}/a") / "b.txt").stat().st_ino == kept


def transfers(remote: Remote | None, method: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that a method of the file system is given from now on."""
    assert remote is not None
    named: list[str] = []
    unspied = getattr(remote.system, method)

    def spy(local: str, there: str, **options: object) -> object:
        result = unspied(local, there, **options)
        named.append(there.removeprefix(f"{remote.root}/"))
        return result

    monkeypatch.setattr(remote.system, method, spy)
    return named


def test_what_was_removed_is_removed_on_both_sides(storage: str, elsewhere) -> None:
    folder = write(placed(f"{storage}/a"), a_txt="1")
    save(folder, 5)
    push(folder)
    elsewhere()
    other = placed(f"{storage}/a")
    pull(other)
    for path in (*sorted((other / CHECKPOINT).iterdir()), other / CHECKPOINT):
        path.unlink() if path.is_file() else path.rmdir()
    save(other, 7)
    push(other)
    elsewhere("copies")
    write(folder, never_pushed_txt="x")
    pull(folder)
    assert set(content(folder)) == {"a.txt", *(f"checkpoints/step-00000007/{n}" for n in FILES)}
    assert not (folder / CHECKPOINT).exists()


FILES = ("state.json", "tensors.safetensors")


def test_content_is_sent_before_what_makes_it_valid(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(
        placed(f"{storage}/a"), result_json="{}", journal_jsonl="x", preparation__manifest_json="{}"
    )
    save(folder, 5)
    sent = transfers(Remote.of(folder), "put_file", monkeypatch)
    push(folder)
    assert sent == [
        "journal.jsonl",
        f"{CHECKPOINT}/tensors.safetensors",
        f"{CHECKPOINT}/state.json",
        "preparation/manifest.json",
        "result.json",
    ]


@pytest.mark.parametrize("lost", ["state.json", "result.json"])
def test_what_broke_off_is_no_checkpoint_and_no_result(
    storage: str, elsewhere, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(placed(f"{storage}/a"), journal_jsonl="x")
    save(folder, 5)
    push(folder)
    write(folder, result_json="{}")
    save(folder, 7)
    remote = Remote.of(folder)
    assert remote is not None
    put = remote.system.put_file

    def broken(local: str, there: str) -> None:
        if there.endswith(lost):
            raise ConnectionResetError("gone")
        put(local, there)

    with monkeypatch.context() as network:
        network.setattr(remote.system, "put_file", broken)
        with pytest.raises(Unfinished, match=r"did not answer \(ConnectionResetError: gone\): repeat"):
            push(folder)
    elsewhere()
    other = placed(f"{storage}/a")
    pull(other)
    steps = {5} if lost == "state.json" else {5, 7}
    assert {int(p.name[5:]) for p in (other / "checkpoints").iterdir()} == steps
    assert not (other / "result.json").exists()
    elsewhere("copies")
    push(folder)
    elsewhere("third")
    pull(placed(f"{storage}/a"))
    assert content(placed(f"{storage}/a")) == content(folder)


def test_a_folder_is_there_once_its_last_file_is(storage: str, elsewhere) -> None:
    folder = write(placed(f"{storage}/a"), shard_arrow="x")
    push(folder)
    elsewhere()
    other = write(placed(f"{storage}/a"), left_over="x")
    pull(other, whole_with="manifest.json")
    assert content(other) == {}
    elsewhere("copies")
    push(write(folder, manifest_json="{}"))
    elsewhere()
    pull(other, whole_with="manifest.json")
    assert content(other) == {"manifest.json": "{}", "shard.arrow": "x"}


def test_parts_and_folders_without_tensors(storage: str, elsewhere) -> None:
    folder = write(placed(f"{storage}/stages/mle-a"), result_json="{}", journal_jsonl="x")
    save(folder, 5)
    push(folder)
    push(write(placed(f"{storage}/stages/mle-b"), journal_jsonl="x"))
    elsewhere()
    store = placed(f"{storage}/stages")
    pull_each(store, "mle-*/result.json")
    assert set(content(store / "mle-a")) == {"journal.jsonl", "result.json", f"{CHECKPOINT}/state.json"}
    assert not (store / "mle-b").exists()
    pull(store / "mle-a", only=("checkpoints",))
    assert f"{CHECKPOINT}/tensors.safetensors" in content(store / "mle-a")
    pull(store / "mle-a", tensors=False)  # leaves those that are there
    assert f"{CHECKPOINT}/tensors.safetensors" in content(store / "mle-a")


def test_a_copy_that_is_being_written_is_ahead_of_the_storage(storage: str) -> None:
    folder = write(placed(f"{storage}/a"), journal_jsonl="one\n")
    push(folder)
    with writing(folder):
        write(folder, journal_jsonl="one\ntwo\n", new_txt="x")
        pull(folder)
        assert content(folder) == {"journal.jsonl": "one\ntwo\n", "new.txt": "x"}
    pull(folder)
    assert content(folder) == {"journal.jsonl": "one\n"}


def test_a_checkpoint_that_is_pruned_meanwhile_is_passed_over(
    storage: str, elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(placed(f"{storage}/a"), journal_jsonl="x")
    save(folder, 5)
    remote = Remote.of(folder)
    assert remote is not None
    put = remote.system.put_file

    def late(local: str, there: str) -> None:
        put(local, there)
        if local.endswith("tensors.safetensors"):  # by the writer, in the middle of the sending
            for name in FILES:
                (folder / CHECKPOINT / name).unlink(missing_ok=True)

    with monkeypatch.context() as busy:
        busy.setattr(remote.system, "put_file", late)
        push(folder)
    assert set(remote.files(half_sent=True)) == {"journal.jsonl"}
    elsewhere()
    pull(placed(f"{storage}/a"))
    assert content(placed(f"{storage}/a")) == {"journal.jsonl": "x"}


def test_one_file_is_fetched_to_a_place_of_its_own(storage: str, tmp_path: Path) -> None:
    folder, copy = placed(f"{storage}/a"), tmp_path / "journals" / "a.jsonl"
    fetch_file(folder, "journal.jsonl", copy)
    assert not copy.exists()
    for text in ("one\n", "one\ntwo\n"):
        push(write(folder, journal_jsonl=text))
        fetch_file(folder, "journal.jsonl", copy)
        assert copy.read_text() == text


def test_storage_that_cannot_be_used_is_told_in_one_line(s3: str) -> None:
    folder = write(placed("s3://raysq-no-such-bucket/a"), a_txt="x")
    with pytest.raises(UserError, match=r"s3://raysq-no-such-bucket/a cannot be used .*check bucket"):
        push(folder)


def test_a_missing_client_is_told_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSQ_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(UserError, match=r"s3://bucket/a cannot be opened .*pip install 'raysq\[s3\]'"):
        pull(placed("s3://bucket/a"))


def test_of_local_folders_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)  # importing it would fail
    write(tmp_path / "a", a_txt="x")
    pull(tmp_path / "a")
    push(tmp_path / "a")
    pull_each(tmp_path, "*/a.txt")
    with writing(tmp_path / "a"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "a.txt"]
