"""Which data a workflow takes; whole workflows are in tests/integration/test_workflow.py."""

from pathlib import Path

import pytest

from raysq.config import UserError
from raysq.data.corpus import GeneratedText
from raysq.data.prepare import prepare
from raysq.data.settings import PrepareSettings
from raysq.data.shards import Corpus
from raysq.places import Places
from raysq.tasks import task_named
from raysq.workflow import given_data
from workflows.mle import RECIPE


def taken(folder: Path, task: str, scoring: str = "bleu") -> Corpus | None:
    """What a command with these settings learns from."""
    settings = {"task": task, "data_dir": folder, "decoding": {"scoring": scoring}}
    config = RECIPE.config_class().model_validate(settings)
    return given_data(config, Places.of("mle", config))


def prepared(folder: Path, task: str, target: str = "a dog") -> Path:
    text = GeneratedText("test", {split: [("x y z", target)] for split in ("train", "dev", "test")})
    settings = {"task": task, "output_dir": folder, "min_count": 1, "max_ratio": 0, "train": "unused"}
    if task.startswith("demo"):
        settings.pop("train")
    return prepare(PrepareSettings.model_validate(settings), text).folder


@pytest.mark.parametrize(
    ("made_for", "taken_by"),
    [
        ("captions", "captioning"),
        ("captions", "demo-captioning"),
        ("headline", "headline"),
        ("headline", "demo-headline"),
        ("demo", "demo"),
        ("demo", "files"),
        ("tsv", "multi30k"),
    ],
)
def test_data_of_the_tasks_kind_is_taken(
    made_for: str, taken_by: str, small_captions: Corpus, tmp_path: Path
) -> None:
    folder = small_captions.folder if made_for == "captions" else prepared(tmp_path / "data", made_for)
    corpus = taken(folder, taken_by)
    assert corpus is not None
    assert corpus.folder == folder


@pytest.mark.parametrize(
    ("made_for", "refused_by"),
    [
        ("captions", "demo"),
        ("captions", "headline"),
        ("headline", "captioning"),
        ("demo-headline", "multi30k"),
        ("tsv", "headline"),
        ("demo", "captioning"),
    ],
)
def test_data_of_another_kind_is_refused(
    made_for: str, refused_by: str, small_captions: Corpus, tmp_path: Path
) -> None:
    folder = small_captions.folder if made_for == "captions" else prepared(tmp_path / "data", made_for)
    task = "demo-captioning" if made_for == "captions" else made_for
    message = (
        f"--task {refused_by} learns from {task_named(refused_by).kind} data, and {folder} was prepared with "
        f"--task {task}: give --task {task}, or other data"
    )
    with pytest.raises(UserError) as refused:
        taken(folder, refused_by)
    assert str(refused.value) == message


def test_headlines_in_a_script_that_rouge_cannot_read_are_refused_before_training(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "data", "headline", "привет мир")
    with pytest.raises(UserError, match="ROUGE counts the letters a-z"):
        taken(folder, "headline", "rouge")
    assert taken(folder, "headline", "bleu") is not None
