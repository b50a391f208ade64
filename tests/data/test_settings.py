import pytest
from pydantic import ValidationError

from raysq.config import UserError
from raysq.data.manifest import Manifest
from raysq.data.settings import PrepareSettings, TextSettings, settings_of, task_defaults

URL = "https://example.org/a.tgz"
SHA256 = "0123456789abcdef" * 4


def manifest_of(settings: dict[str, object]) -> Manifest:
    return Manifest(
        format=1,
        digest="",
        settings=settings,
        inputs={},
        versions={},
        splits={},
        vocabulary_sizes={},
        files={},
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "files", "train": "a", "dev": "b"}, "`train`, `dev` and `test` must all be given"),
        ({"task": "demo", "train": "a"}, "`train` must be left out with task demo"),
        ({"task": "multi30k"}, "`input` must be given with task multi30k"),
        ({"task": "europarl"}, "`input` must be given with task europarl"),
        ({"task": "iwslt14"}, "`input` must be given with task iwslt14"),
        ({"task": "demo", "input": "a"}, "`input` must be left out with task demo"),
        ({"task": "tsv"}, "`train` or else `input` must be given with task tsv"),
        ({"task": "tsv", "train": "a", "input": "b"}, "`train` or else `input` must be given"),
        ({"task": "tsv", "train": "a", "input_sha256": SHA256}, "`input_sha256` must be left out without"),
        ({"task": "tsv", "input": URL}, "`input_sha256` must be given when `input` is a URL"),
        ({"task": "tsv", "input": URL, "input_sha256": "abc"}, "must be 64 hexadecimal digits"),
        ({"task": "tsv", "input": URL, "input_sha256": "x" * 64}, "must be 64 hexadecimal digits"),
        ({"task": "iwslt14", "input": "a", "target_language": "fr"}, "must be de and en, or en and de"),
        ({"task": "demo", "source_language": "fr"}, "must be de and en with task demo"),
        ({"task": "demo", "tokeniser": "moses"}, "`tokeniser` must be none with task demo"),
        ({"normalise_punctuation": True}, "`normalise_punctuation` must be false unless"),
        ({"max_ratio": 0.5}, "`max_ratio` must be 0 or at least 1"),
        ({"min_count": 0}, "greater than or equal to 1"),
    ],
    ids=str,
)
def test_impossible_combinations(given, message):
    with pytest.raises(ValidationError, match=message):
        PrepareSettings.model_validate(given)


@pytest.mark.parametrize(
    "given",
    [
        {"task": "tsv", "train": "a", "dev": "b"},
        {"task": "tsv", "input": URL, "input_sha256": SHA256.upper()},
        {"task": "iwslt14", "input": "de-en.tgz", "source_language": "en", "target_language": "de"},
    ],
    ids=str,
)
def test_possible_combinations(given):
    assert PrepareSettings.model_validate(given).task == given["task"]


def test_task_defaults():
    assert task_defaults({"task": "demo"}) == {"min_count": 1, "max_ratio": 0.0}
    assert task_defaults({"task": "files"}) == {}
    multi30k = task_defaults({"task": "multi30k", "tokeniser": "moses"})
    assert multi30k == {"max_ratio": 0.0, "normalise_punctuation": True}


def test_the_recipe_of_iwslt14():
    given = {"task": "iwslt14", "input": "de-en.tgz"}
    settings = PrepareSettings.model_validate(given | task_defaults(given))
    assert (settings.max_ratio, settings.max_length, settings.min_count) == (1.5, 50, 3)
    assert (settings.tokeniser, settings.normalise_punctuation, settings.lower_case) == ("moses", False, True)
    assert (settings.dev_every, settings.mend_tedx) == (23, False)


def test_content_is_what_shapes_the_data():
    here = PrepareSettings(task="tsv", train="a", output_dir="b", num_workers=3, quiet=True, max_line_bytes=9)
    there = PrepareSettings(task="tsv", input=URL, input_sha256=SHA256, dev="c")
    assert here.content == there.content
    assert here.content != PrepareSettings(task="tsv", train="a", held_out=9).content


def test_settings_of_a_manifest():
    settings = PrepareSettings(task="multi30k", input="a", tokeniser="moses", min_count=7)
    assert settings_of(manifest_of(settings.content)) == TextSettings(
        task="multi30k", tokeniser="moses", min_count=7
    )
    older = {key: value for key, value in settings.content.items() if key != "held_out"}
    assert settings_of(manifest_of(older)).held_out == 50
    with pytest.raises(
        UserError, match=r"another version \(manifest\.json: settings\.subwords: .*: prepare it again"
    ):
        settings_of(manifest_of(settings.content | {"subwords": 8000}))


def test_workers_are_as_many_as_cores_unless_said(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 5})
    assert PrepareSettings().workers == 3
    assert PrepareSettings(num_workers=0).workers == 0
