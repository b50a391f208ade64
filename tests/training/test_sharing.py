from pathlib import Path

import pytest

from raysq.addresses import placed
from raysq.storage import pull, push
from raysq.training import sharing
from raysq.training.journal import Journal, read
from raysq.training.sharing import Journals, pushed
from tests.test_lease import until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "INTERVAL", 0.05)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What another machine finds of a folder."""

    def look(address: str) -> dict[str, str]:
        with monkeypatch.context() as other:
            other.setenv("RAYSQ_CACHE", str(tmp_path / "other"))
            folder = placed(address)
            pull(folder)
            return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}

    return look


def test_what_is_new_is_sent_while_it_is_written_and_at_the_end(storage: str, elsewhere) -> None:
    folder = placed(f"{storage}/stage")
    folder.mkdir(parents=True)
    with pushed(folder):
        (folder / "a.txt").write_text("a")
        until(lambda: (folder.parent / ".stage.copy.json").exists())
        until(lambda: elsewhere(f"{storage}/stage") == {"a.txt": "a"})
        (folder / "b.txt").write_text("b")
    assert elsewhere(f"{storage}/stage") == {"a.txt": "a", "b.txt": "b"}


def test_what_an_interruption_leaves_is_sent_too(storage: str, elsewhere) -> None:
    folder = placed(f"{storage}/stage")
    folder.mkdir(parents=True)

    def interrupted() -> None:
        with pushed(folder):
            (folder / "a.txt").write_text("a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert elsewhere(f"{storage}/stage") == {"a.txt": "a"}


def test_journals_of_folders_elsewhere_are_read_from_copies(storage: str, tmp_path: Path) -> None:
    folder, output = placed(f"{storage}/stages/mle"), placed(f"{storage}/run")
    with Journal(folder / "journal.jsonl") as journal:
        journal.write(1, {"a": 1.0})
        push(folder)
        journals = Journals(output)
        copy = journals.of(folder)
        assert copy == output / "journals" / "mle.jsonl"
        assert [record.step for record in read(copy)[0]] == [1]
        with journals.followed():
            journal.write(2, {"a": 2.0})
            push(folder)
            until(lambda: len(read(copy)[0]) == 2)
            journal.write(3, {"a": 3.0})
            push(folder)
    assert [record.step for record in read(copy)[0]] == [1, 2, 3]
    assert Journals(output).of(tmp_path) == tmp_path / "journal.jsonl"
