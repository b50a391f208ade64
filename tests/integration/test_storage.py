"""Data and runs on an S3 server: whole commands, whose results are those of local folders to the last bit.

"Another machine" is this one with empty working copies.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from raysq.addresses import placed
from raysq.commandline import run_command
from raysq.data.settings import PrepareSettings, task_defaults
from raysq.data.shards import Corpus
from raysq.storage import pull
from raysq.tasks.grammar import generate
from raysq.training import checkpoint, journal, stage
from raysq.workflow import main
from tests.integration.test_workflow import SMALL
from workflows import credit, evaluate, prepare, runs
from workflows.erac import RECIPE

ROOT = Path(__file__).parents[2]
STAGES = ("mle", "critic", "erac")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Options that name small text files."""
    options = ["--task=tsv", "--quiet", "--min-count=1", "--max-ratio=0", "--num-workers=0"]
    for split, pairs in generate(sizes={"train": 300, "dev": 20, "test": 20}).items():
        path = tmp_path / f"{split}.tsv"
        path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
        options.append(f"--{split}={path}")
    return options


def prepared(files: list[str], output: str) -> str:
    argv = [*files, f"--output-dir={output}"]
    assert (
        run_command(PrepareSettings, prepare.main, description="", argv=argv, defaults_for=task_defaults) == 0
    )
    return output


def train(data: str, output: str, uri: Path) -> int:
    options = [f"--data-dir={data}", f"--output-dir={output}", f"--tracking-uri=sqlite:///{uri}"]
    return main(RECIPE, None, [*SMALL, "--task=tsv", *options])


def losses(folder: Path) -> dict[tuple[int, str], float]:
    """Every metric of a journal but times, the first record of a step counting."""
    found: dict[tuple[int, str], float] = {}
    for record in journal.read(folder / "journal.jsonl")[0]:
        for name, value in record.metrics.items():
            if not name.endswith(("seconds", "per_second", "wait_share")):
                found.setdefault((record.step, name), value)
    return found


def assert_same_stage(entry: dict, expected: dict) -> None:
    for key in ("name", "state", "updates", "best_update", "scores", "dev", "test"):
        assert entry[key] == expected[key], (entry["name"], key)
    folder, other = placed(entry["folder"]), placed(expected["folder"])
    pull(folder)
    mine, theirs = (checkpoint.latest(place / "checkpoints") for place in (folder, other))
    assert mine is not None
    assert theirs is not None
    assert mine.step == theirs.step
    assert mine.tensors.keys() == theirs.tensors.keys()
    for name, tensor in mine.tensors.items():
        assert torch.equal(tensor, theirs.tensors[name]), (entry["name"], name)
    assert losses(folder) == losses(other)
    for text in (other / "hypotheses").glob("*.txt"):
        assert (folder / "hypotheses" / text.name).read_text() == text.read_text()


def test_a_workflow_on_s3_goes_on_elsewhere_and_ends_as_a_local_one(
    s3: str, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    local = prepared(files, str(tmp_path / "data"))
    assert train(local, str(tmp_path / "runs" / "a"), tmp_path / "local.db") == 0
    expected = json.loads((tmp_path / "runs" / "a" / "result.json").read_text())

    data, output = prepared(files, f"{s3}/data"), f"{s3}/runs/a"
    assert Corpus.load(placed(data)).digest == Corpus.load(Path(local)).digest
    update = stage._StageRun._update

    def interrupted(self: stage._StageRun) -> None:
        if self.spec.name == "erac" and self.progress.update == 4:
            raise KeyboardInterrupt
        update(self)

    with monkeypatch.context() as stopped:
        stopped.setattr(stage._StageRun, "_update", interrupted)
        assert train(data, output, tmp_path / "mlflow.db") == 130
    assert "interrupted: repeat the command" in capsys.readouterr().err

    monkeypatch.setenv("RAYSQ_CACHE", str(tmp_path / "other"))
    trained: list[tuple[str, int]] = []

    def noted(self: stage._StageRun) -> None:
        trained.append((self.spec.name, self.progress.update))
        update(self)

    with monkeypatch.context() as watched:
        watched.setattr(stage._StageRun, "_update", noted)
        assert train(data, output, tmp_path / "mlflow.db") == 0
    assert trained == [("erac", 3), ("erac", 4), ("erac", 5)]  # its checkpoint was that of the evaluation
    assert f"results: {output}/result.json" in capsys.readouterr().out

    monkeypatch.setenv("RAYSQ_CACHE", str(tmp_path / "reader"))
    pull(placed(output))
    result = json.loads((placed(output) / "result.json").read_text())
    assert [entry["name"] for entry in result["stages"]] == list(STAGES)
    for entry, theirs in zip(result["stages"], expected["stages"], strict=True):
        assert_same_stage(entry, theirs)
    for path in placed(output).rglob("*.json"):
        assert str(tmp_path / "copies") not in path.read_text(), path
        assert str(tmp_path / "other") not in path.read_text(), path

    monkeypatch.setenv("RAYSQ_CACHE", str(tmp_path / "user"))
    used_from_elsewhere(output, result, capsys)


def used_from_elsewhere(output: str, result: dict, capsys: pytest.CaptureFixture) -> None:
    """Every command that reads a run takes its address."""
    argv = [f"--run={output}", f"--output-dir={output}/scores"]
    assert run_command(evaluate.EvaluateSettings, evaluate.main, description="", argv=argv) == 0
    scores = json.loads((placed(f"{output}/scores") / "scores.json").read_text())
    assert scores["tokenised"]["bleu"] == pytest.approx(result["stages"][-1]["test"]["bleu"], abs=1e-9)
    assert scores["folder"] == result["stages"][-1]["folder"]

    argv = [f"--run={output}", "--stage=critic"]
    assert run_command(evaluate.EvaluateSettings, evaluate.main, description="", argv=argv) == 2
    assert "must be one of mle, erac" in capsys.readouterr().err

    argv = [f"--run={output}", "--sentences=1", "--samples=0", "--no-log"]
    assert run_command(credit.CreditSettings, credit.main, description="", argv=argv) == 0
    assert f"1 sentences of dev: {output}/credit/credit.html" in capsys.readouterr().out

    assert run_command(runs.RunsSettings, runs.main, description="", argv=[f"--run={output}"]) == 0
    printed = capsys.readouterr().out
    assert f"{output}: finished" in printed
    assert f"evaluate:  python workflows/evaluate.py --run {output}" in printed

    translated = subprocess.run(
        [sys.executable, "workflows/translate.py", f"--run={output}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        input="ein hund\n\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (translated.returncode, translated.stdout.count("\n")) == (0, 2), translated.stderr


def test_generated_data_and_finished_stages_are_found_elsewhere(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    options = [*SMALL, "--task=demo", f"--tracking-uri=sqlite:///{tmp_path / 'mlflow.db'}"]
    assert main(RECIPE, None, [*options, f"--output-dir={s3}/runs/a"]) == 0
    monkeypatch.setenv("RAYSQ_CACHE", str(tmp_path / "other"))
    for reuse in ("auto", "same-config"):
        capsys.readouterr()
        assert main(RECIPE, None, [*options, f"--output-dir={s3}/runs/b-{reuse}", f"--reuse={reuse}"]) == 0
        assert capsys.readouterr().out.count("reused") == len(STAGES)
    assert Corpus.load(placed(f"{s3}/runs/data-demo")).manifest.settings["task"] == "demo"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--output-dir=s3://bucket/runs/a"], "MLflow's database cannot lie there: give --tracking-uri"),
        (["--output-dir=s3://me:secret@bucket/a"], "must have no user, password or query in it"),
        (["--data-dir=s4://bucket/data"], "must be on storage that fsspec can write to"),
        (["--data-dir=s3://raysq-nothing-here/data"], "s3://raysq-nothing-here/data"),
    ],
)
def test_mistakes_are_told_in_one_line(
    s3: str, options: list[str], said: str, capsys: pytest.CaptureFixture
) -> None:
    assert main(RECIPE, None, [*SMALL, *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert "secret" not in error
