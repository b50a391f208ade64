import sys
from types import SimpleNamespace

import raysq.tasks
from raysq.data.prepare import PrepareSettings
from raysq.tasks.translation import demo_settings, demo_text, translation_text


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


def test_text_of_files(tmp_path):
    for name in ("a.de", "a.en"):
        (tmp_path / name).write_text(f"{name}\n")
    prefix = tmp_path / "a"
    settings = PrepareSettings(task="files", train=prefix, dev=prefix, test=prefix)
    assert list(translation_text(settings).pairs("dev")) == [("a.de", "a.en")]
