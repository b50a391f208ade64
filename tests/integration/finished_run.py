"""A small finished run on raw text, for the tests of the commands that use one."""

import json
from pathlib import Path

import pytest

from raysq.data.corpus import GeneratedText
from raysq.data.detokenisation import moses_detokeniser
from raysq.data.prepare import PrepareSettings, prepare
from raysq.tasks.grammar import generate
from raysq.workflow import main
from workflows.mle import RECIPE


def raw_text() -> GeneratedText:
    """Sentences as people write them: a capital first, punctuation joined, an apostrophe here and there."""
    of = {"de": moses_detokeniser("de"), "en": moses_detokeniser("en")}

    def written(line: str, language: str) -> str:
        text = of[language](line.split())
        return text[:1].upper() + text[1:].replace("the ", "the dog's ", 1)

    splits = generate(sizes={"train": 300, "dev": 60, "test": 60})
    return GeneratedText(
        "test", {s: [(written(a, "de"), written(b, "en")) for a, b in pairs] for s, pairs in splits.items()}
    )


def preparation(output: Path) -> PrepareSettings:
    """How the text is prepared: tokenised by Moses, lower-cased."""
    return PrepareSettings(
        task="files",
        train=Path("not read"),
        dev=Path("not read"),
        test=Path("not read"),
        tokeniser="moses",
        max_ratio=0,
        output_dir=output,
    )


def train(folder: Path) -> Path:
    """Train on the text; the output folder, the data beside it."""
    prepare(preparation(folder / "data"), raw_text())
    settings = {
        "data-dir": folder / "data",
        "output-dir": folder / "run",
        "num-learners": 0,
        "threads-per-learner": 1,
        "quiet": "true",
        "network.hidden-size": 32,
        "network.embedding-size": 32,
        "network.dropout": 0,
        "decoding.max-length": 20,
        "decoding.beam-size": 3,
        "decoding.batch-size": 6,
        "mle.optimizer": "adam",
        "mle.learning-rate": 0.02,
        "mle.max-updates": 120,
        "mle.evaluate-every": 60,
    }
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    assert main(RECIPE, None, arguments) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory) -> Path:
    """Output folder of the run; its data lies beside it."""
    return train(tmp_path_factory.mktemp("finished"))


def entry(run: Path) -> dict:
    """The stage's entry of result.json."""
    return json.loads((run / "result.json").read_text())["stages"][0]
