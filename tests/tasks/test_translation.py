import hashlib
import tarfile
from typing import get_args

import pytest

from raysq.config import UserError
from raysq.data.settings import PrepareSettings, TaskName
from raysq.data.wit3 import Wit3Text
from raysq.tasks import TASKS
from raysq.tasks.translation import translation_text


def test_every_task_can_be_prepared_and_trained():
    assert {task.name for task in TASKS} == set(get_args(TaskName))


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
