import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from raysq.config import UserError
from raysq.data.corpus import GeneratedText
from raysq.data.prepare import prepare
from raysq.data.shards import Corpus
from raysq.tasks import generated as module
from raysq.tasks.generated import demo_settings, generated, generator, holds_generated
from raysq.tasks.scenes import corpus


def test_demo_settings(tmp_path: Path) -> None:
    settings = demo_settings("demo", tmp_path)
    assert (settings.task, settings.output_dir) == ("demo", tmp_path)
    assert (settings.min_count, settings.max_ratio, settings.tokeniser) == (1, 0, "none")


def test_a_folder_holds_the_demo_where_the_same_sources_and_settings_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = {split: [("ein hund", "a dog")] for split in ("train", "dev", "test")}
    monkeypatch.setitem(sys.modules, "raysq.tasks.grammar", SimpleNamespace(generate=lambda: pairs))
    here, other, foreign = tmp_path / "here", tmp_path / "other", tmp_path / "foreign"
    assert not holds_generated("demo", here)
    text = generated("demo", tmp_path).text
    assert list(text.pairs("train")) == [("ein hund", "a dog")]
    prepare(demo_settings("demo", here), text)
    prepare(demo_settings("demo", other).model_copy(update={"max_length": 9}), text)
    prepare(demo_settings("demo", foreign), GeneratedText("test", pairs))
    assert [holds_generated("demo", folder) for folder in (here, other, foreign)] == [True, False, False]
    assert not holds_generated("demo-headline", here)
    (tmp_path / "demo_grammar").mkdir()
    for name in ("grammar.py", "demo_grammar/draw.py"):
        (tmp_path / name).write_text("changed = True\n")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "generated.py"))
    assert not holds_generated("demo", here)


def test_headlines_have_several_references_where_they_are_scored(tmp_path: Path) -> None:
    made = generated("demo-headline", tmp_path)
    prepare(demo_settings("demo-headline", tmp_path / "data"), made.text)
    corpus = Corpus.load(tmp_path / "data")
    assert len(corpus.splits["train"]) == 6000
    assert len(corpus.splits["test"]) == 500
    counts = [len(corpus.splits["test"].references(i)) for i in range(500)]
    assert (min(counts), max(counts)) == (3, 4)
    assert {len(corpus.splits["train"].references(i)) for i in range(50)} == {1}


def test_a_generators_name_tells_its_sources_apart() -> None:
    names = [generator(task) for task in module.SOURCES]
    assert len(set(names)) == len(names) == 3


def test_two_commands_make_the_pictures_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first, whatever it is at, and uses what it has made."""
    begun, write, calls = threading.Event(), corpus.write_scenes, []

    def slowly(folder: Path) -> None:
        calls.append(folder)
        begun.set()
        time.sleep(0.5)
        write(folder, {"train": 160, "dev": 1, "test": 1})

    monkeypatch.setattr(corpus, "write_scenes", slowly)
    monkeypatch.setattr(module, "ENCODER_EPOCHS", 1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(generated, "demo-captioning", tmp_path)
        assert begun.wait(60)
        second = pool.submit(generated, "demo-captioning", tmp_path).result().features
    assert len(calls) == 1
    store = first.result().features
    assert store is not None
    assert second is not None
    assert store.digest == second.digest
    assert (store.folder, len(store), store.names[0]) == (second.folder, 162, "dev_00001.png")
    assert [path.name for path in tmp_path.iterdir()] == [store.folder.parent.name]
    shard = store.folder / "features-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-4] + b"abcd")
    with pytest.raises(
        UserError, match=f"{store.folder.parent} was changed: remove it, it is generated again"
    ):
        generated("demo-captioning", tmp_path)
