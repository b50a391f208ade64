import json
from pathlib import Path

import pytest
import torch

from raysq.addresses import placed
from raysq.algorithms import ActorCritic, CriticTraining, Mle
from raysq.config import DecodingConfig, NetworkConfig
from raysq.data.shards import Corpus
from raysq.rewards.settings import RewardSettings
from raysq.storage import pull, push
from raysq.training import checkpoint, sharing
from raysq.training.job import Job, run_here
from raysq.training.journal import Journal, read
from raysq.training.sharing import Journals, pushed
from raysq.training.spec import StageSpec
from raysq.training.stage import _StageRun
from tests.test_lease import until

SCHEDULE = {"batch_size": 10, "max_updates": 12, "evaluate_every": 4, "learning_rate": 0.01}


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


TIMES = ("seconds", "tokens_per_second", "reward_wait_share")


class Killed(BaseException):
    """In place of SIGKILL, after which nothing is sent any more."""


def job(runs: Path, data: Path) -> Job:
    """Three stages, the later of which start from those before."""
    mle, critic, erac = (runs / name for name in ("mle", "critic", "erac"))
    stages = (
        StageSpec("mle", Mle(**SCHEDULE), mle, seed=1),
        StageSpec("critic", CriticTraining(**SCHEDULE), critic, seed=1, policy_from=mle),
        StageSpec("erac", ActorCritic(**SCHEDULE), erac, seed=1, policy_from=mle, critic_from=critic),
    )
    network = NetworkConfig(embedding_size=6, hidden_size=6)
    decoding = DecodingConfig(beam_size=1, max_length=8)
    return Job(stages, data, network, decoding, RewardSettings(), 0.0, "cpu", 1)


def outcome(runs: Path) -> dict[str, object]:
    """What stages left but times: scores, hypotheses, checkpoints, loss curves."""
    found: dict[str, object] = {}
    for folder in (runs / "mle", runs / "critic", runs / "erac"):
        pull(folder)
        result = json.loads((folder / "result.json").read_text())
        found |= {f"{folder.name}.{key}": value for key, value in result.items() if key not in TIMES}
        found |= {f"{folder.name}.{p.name}": p.read_text() for p in (folder / "hypotheses").glob("*.txt")}
        curve: dict[tuple[int, str], float] = {}
        for record in read(folder / "journal.jsonl")[0]:
            for name, value in record.metrics.items():
                if not name.endswith(("seconds", "per_second", "wait_share")):
                    curve.setdefault((record.step, name), value)
        found[f"{folder.name}.curve"] = curve
    return found


@pytest.mark.parametrize(("stage", "update"), [("mle", 6), ("erac", 10)])
def test_what_was_killed_goes_on_from_empty_copies_to_the_same_end(
    storage: str,
    small_corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    update: int,
) -> None:
    run_here(job(tmp_path / "local", small_corpus.folder))
    expected = outcome(tmp_path / "local")

    data = placed(f"{storage}/data")
    data.parent.mkdir(parents=True, exist_ok=True)
    data.symlink_to(small_corpus.folder)
    push(data)
    told = job(placed(f"{storage}/stages"), data)  # by a machine whose working copies are not the learner's
    done: list[tuple[str, int]] = []

    with monkeypatch.context() as first:
        first.setenv("RAYSQ_CACHE", str(tmp_path / "first"))
        killed_at(stage, update, done, first)
        with pytest.raises(Killed):
            run_here(told)
    assert done[-1] == (stage, update)
    assert not (placed(f"{storage}/stages") / stage / "result.json").exists()

    monkeypatch.setenv("RAYSQ_CACHE", str(tmp_path / "second"))
    done.clear()
    killed_at("", 0, done, monkeypatch)
    run_here(told)
    assert done[0] == (stage, update // 4 * 4), "it goes on from the last checkpoint that was sent"
    monkeypatch.setenv("RAYSQ_CACHE", str(tmp_path / "reader"))
    assert outcome(placed(f"{storage}/stages")) == expected
    for name in ("mle", "critic", "erac"):
        mine = checkpoint.latest(placed(f"{storage}/stages") / name / "checkpoints")
        theirs = checkpoint.latest(tmp_path / "local" / name / "checkpoints")
        assert mine is not None
        assert theirs is not None
        assert mine.step == theirs.step == 12
        assert all(torch.equal(tensor, theirs.tensors[key]) for key, tensor in mine.tensors.items())


def killed_at(stage: str, update: int, done: list[tuple[str, int]], patch: pytest.MonkeyPatch) -> None:
    """Note every update, and die before one; what was sent last was sent just after an evaluation."""
    run, send = _StageRun._update, sharing.push

    def noted(self: _StageRun) -> None:
        done.append((self.spec.name, self.progress.update))
        if done[-1] == (stage, update):
            patch.setattr(sharing, "push", lambda folder: None)
            raise Killed
        run(self)
        if self.writer is not None and self.progress.update % 4 == 1 and self.spec.name == stage:
            self.writer.wait()
            send(self.spec.folder)  # as the clock would have it

    patch.setattr(_StageRun, "_update", noted)
    patch.setattr(sharing, "INTERVAL", 1000.0)
