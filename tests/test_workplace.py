import threading

import pytest

from raysq import workplace as module
from raysq.claim import holder
from raysq.config import UserError
from raysq.workplace import occupied, publish, workplace


def test_what_was_begun_is_found_again_and_nothing_is_left_at_the_end(tmp_path):
    folder = tmp_path / "out"

    def interrupted():
        with workplace(folder, "the work") as hidden:
            (hidden / "data" / "a").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        interrupted()
    assert stopped.value.__notes__ == ["repeat the command to continue"]
    assert not occupied(folder)
    with workplace(folder, "the work") as hidden:
        assert (hidden / "data" / "a").read_text() == "1"
        (hidden / "scratch").write_text("2")
        publish(hidden, folder)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_a_mistake_before_anything_was_written_leaves_nothing(tmp_path):
    with pytest.raises(UserError), workplace(tmp_path / "out", "the work"):
        raise UserError("a wrong path")
    assert list(tmp_path.iterdir()) == []


def test_one_command_at_a_time(tmp_path):
    with (
        workplace(tmp_path / "out", "the work"),
        pytest.raises(UserError, match=r"the work in .* is in use by process"),
        workplace(tmp_path / "out", "the work"),
    ):
        pass


def test_an_empty_folder_is_free(tmp_path):
    (tmp_path / "out").mkdir()
    assert not occupied(tmp_path / "out")
    with workplace(tmp_path / "out", "the work") as hidden:
        (hidden / "data" / "a").write_text("1")
        publish(hidden, tmp_path / "out")
    assert (tmp_path / "out" / "a").exists()


def test_what_cannot_be_resumed_begins_empty_and_leaves_nothing(tmp_path):
    folder = tmp_path / "out"
    (tmp_path / ".out.partial" / "data").mkdir(parents=True)
    (tmp_path / ".out.partial" / "data" / "of a dead command").touch()

    def interrupted():
        with workplace(folder, "it", resumable=False) as hidden:
            assert list((hidden / "data").iterdir()) == []
            (hidden / "data" / "a").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        interrupted()
    assert not hasattr(stopped.value, "__notes__")
    assert list(tmp_path.iterdir()) == []


def test_another_command_is_waited_for(tmp_path):
    first = workplace(tmp_path / "out", "it")
    first.__enter__()
    release = threading.Timer(0.3, first.__exit__, (None, None, None))
    release.start()
    with workplace(tmp_path / "out", "it", patience=60):
        release.join()
    assert list(tmp_path.iterdir()) == []


def test_who_was_not_first_after_waiting_goes_on_waiting(tmp_path, monkeypatch):
    """Another command took the claim just after nobody had it."""
    looks = iter([None])
    monkeypatch.setattr(module, "holder", lambda folder: next(looks, holder(folder)))
    first = workplace(tmp_path / "out", "it")
    first.__enter__()
    release = threading.Timer(0.5, first.__exit__, (None, None, None))
    release.start()
    with workplace(tmp_path / "out", "it", patience=60):
        release.join()
    assert list(tmp_path.iterdir()) == []


def test_patience_ends(tmp_path):
    with (
        workplace(tmp_path / "out", "it"),
        pytest.raises(UserError, match=r"it in .* is in use by process"),
        workplace(tmp_path / "out", "it", patience=0.3),
    ):
        pass
