import hashlib
import sys
import tarfile
from types import SimpleNamespace
from typing import get_args

import pytest

import raysq.tasks
from raysq.config import UserError
from raysq.data.corpus import GeneratedText
from raysq.data.prepare import prepare
from raysq.data.settings import PrepareSettings, TaskName
from raysq.data.wit3 import Wit3Text
from raysq.tasks import TASKS, translation
from raysq.tasks.translation import demo_settings, demo_text, holds_demo, translation_text


def test_every_task_can_be_prepared_and_trained():
    assert {task.name for task in TASKS} == set(get_args(TaskName))


def test_demo_settings(tmp_path):
    settings = demo_settings(tmp_path)
    assert (settings.task, settings.output_dir) == ("demo", tmp_path)
    assert (settings.min_count, settings.max_ratio, settings.tokeniser) == (1, 0, "none")


def test_demo_text_is_the_grammars(monkeypatch):
    splits = {"train": [("ein hund", "a dog")], "dev": [("zwei", "two")], "test": [("drei", "three")]}
    grammar = SimpleNamespace(generate=lambda: splits)
    monkeypatch.setitem(sys.modules, "raysq.tasks.grammar", grammar)
    monkeypatch.setattr(raysq.tasks, "grammar", grammar, raising=False)
    assert list(demo_text().pairs("train")) == [("ein hund", "a dog")]
    assert list(translation_text(PrepareSettings()).pairs("test")) == [("drei", "three")]


def test_a_folder_holds_the_demo_where_the_same_sources_and_settings_made_it(tmp_path, monkeypatch):
    pairs = {split: [("ein hund", "a dog")] for split in ("train", "dev", "test")}
    monkeypatch.setitem(sys.modules, "raysq.tasks.grammar", SimpleNamespace(generate=lambda: pairs))
    here, other, foreign = tmp_path / "here", tmp_path / "other", tmp_path / "foreign"
    assert not holds_demo(here)
    prepare(demo_settings(here), demo_text())
    prepare(demo_settings(other).model_copy(update={"max_length": 9}), demo_text())
    prepare(demo_settings(foreign), GeneratedText("test", pairs))
    assert [holds_demo(folder) for folder in (here, other, foreign)] == [True, False, False]
    (tmp_path / "demo_grammar").mkdir()
    for name in ("grammar.py", "demo_grammar/draw.py"):
        (tmp_path / name).write_text("changed = True\n")
    monkeypatch.setattr(translation, "__file__", str(tmp_path / "translation.py"))
    assert not holds_demo(here)


def test_text_of_files(tmp_path):
    for name in ("a.de", "a.en"):
        (tmp_path / name).write_text(f"{name}\n")
    prefix = tmp_path / "a"
    settings = PrepareSettings(task="files", train=prefix, dev=prefix, test=prefix)
    assert list(translation_text(settings).pairs("dev")) == [("a.de", "a.en")]


def test_missing_file_names_both_spellings(tmp_path):
    settings = PrepareSettings(task="files", train=tmp_path / "a", dev="b", test="c")
    with pytest.raises(UserError, match=r"neither .*/a\.de nor a\.de\.gz beside it exists"):
        translation_text(settings)


def write_set(folder, names):
    folder.mkdir()
    for name in names:
        (folder / name).write_text(f"{name}\n")
    return folder


@pytest.mark.parametrize(("tokeniser", "tail"), [("none", ".lc.norm.tok"), ("moses", "")])
def test_text_of_multi30k(tmp_path, tokeniser, tail):
    stems = [f"{stem}{tail}" for stem in ("train", "val", "test_2016_flickr")]
    folder = write_set(tmp_path / "set", [f"{stem}.{side}" for stem in stems for side in ("de", "en")])
    settings = PrepareSettings(task="multi30k", input=str(folder), tokeniser=tokeniser)
    assert list(translation_text(settings).pairs("dev")) == [(f"val{tail}.de", f"val{tail}.en")]


def europarl(folder):
    return write_set(
        folder, [f"v7.{split}.{side}" for split in ("train", "validation", "test") for side in ("de", "en")]
    )


def test_text_of_europarl_from_a_folder_an_archive_and_a_url(tmp_path):
    folder = europarl(tmp_path / "set")
    with tarfile.open(tmp_path / "set.tgz", "w:gz") as tar:
        tar.add(folder, "europarl")
    archive = tmp_path / "set.tgz"
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    output = tmp_path / "data" / "out"
    for place in (str(folder), str(archive), f"file://{archive}"):
        given = {"input_sha256": sha256} if "://" in place else {}
        settings = PrepareSettings(task="europarl", input=place, output_dir=output, **given)
        assert list(translation_text(settings).pairs("dev")) == [("v7.validation.de", "v7.validation.en")]
    assert {path.name for path in (tmp_path / "data" / "downloads").iterdir()} == {
        "claim",
        f"{sha256[:16]}-set.tgz",
        f"{sha256[:16]}.unpacked",
    }


@pytest.mark.parametrize("change", ["another", "none"])
def test_europarl_of_no_or_of_two_names(tmp_path, change):
    folder = europarl(tmp_path / "set")
    if change == "another":
        (folder / "v8.train.de.gz").touch()
    else:
        (folder / "v7.train.de").unlink()
    with pytest.raises(
        UserError, match=r"set holds [02] files NAME\.train\.de or NAME\.train\.de\.gz, not one"
    ):
        translation_text(PrepareSettings(task="europarl", input=str(folder)))


def test_text_of_tsv(tmp_path):
    (tmp_path / "a.tsv").write_text("ein\tone\n")
    (tmp_path / "b.tsv").write_text("zwei\ttwo\n")
    for given in ({"train": tmp_path / "a.tsv"}, {"input": str(tmp_path / "a.tsv")}):
        text = translation_text(PrepareSettings(task="tsv", dev=tmp_path / "b.tsv", held_out=9, **given))
        assert list(text.pairs("dev")) == [("zwei", "two")]
        assert [*text.pairs("train"), *text.pairs("test")] == [("ein", "one")]


def test_text_of_iwslt14(tmp_path):
    settings = PrepareSettings(
        task="iwslt14", input=str(tmp_path), source_language="en", target_language="de", mend_tedx=True
    )
    assert translation_text(settings) == Wit3Text(tmp_path, "en", "de", mend_tedx=True)


def test_input_that_is_missing_or_another(tmp_path):
    settings = PrepareSettings(task="iwslt14", input=f"{tmp_path}/no")
    with pytest.raises(UserError, match=r"--input .*/no: no such file or folder"):
        translation_text(settings)
    (tmp_path / "a.tsv").write_text("ein\tone\n")
    settings = PrepareSettings(task="tsv", input=f"{tmp_path}/a.tsv", input_sha256="0" * 64)
    with pytest.raises(UserError, match=r"a\.tsv has sha256 [0-9a-f]{64}, not 0000"):
        translation_text(settings)
