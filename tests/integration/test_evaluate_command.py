"""workflows/evaluate.py on a small finished run: the run's own scores again, and what else it can compare."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sacrebleu

from raysq.commandline import run_command
from raysq.data.detokenisation import moses_detokeniser
from raysq.data.prepare import prepare
from raysq.data.shards import Corpus
from tests.integration.finished_run import entry, preparation, raw_text
from workflows.evaluate import EvaluateSettings, main

ROOT = Path(__file__).parents[2]


def evaluate(*arguments: object) -> int:
    return run_command(EvaluateSettings, main, description="", argv=list(map(str, arguments)))


def scores(folder: Path) -> dict:
    return json.loads((folder / "scores.json").read_text())


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_the_scores_of_the_run_to_the_last_digit_without_ray(finished_run, tmp_path):
    """The real command line, where Ray and MLflow cannot be imported."""
    for package in ("ray", "mlflow"):
        (tmp_path / "without" / package).mkdir(parents=True)
        (tmp_path / "without" / package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    command = [sys.executable, ROOT / "workflows" / "evaluate.py", "--run", finished_run, "--output-dir=out"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'without'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found, stage = scores(tmp_path / "out"), entry(finished_run)
    assert found["tokenised"]["bleu"] > 1
    assert {key: stage["test"][key] for key in found["tokenised"]} == found["tokenised"]
    assert lines(tmp_path / "out" / "hypotheses.txt") == lines(finished_run / "hypotheses" / "mle.test.txt")
    assert (found["stage"], found["best_update"], found["unknown"]) == ("mle", stage["best_update"], "keep")
    assert (found["sentences"], found["decoding"]["beam_size"]) == (60, 3)
    assert f"tokenised: {stage['test']['signature']}" in done.stdout.splitlines()
    assert f"results: {tmp_path}/out/scores.json" in done.stdout


def test_another_split(finished_run, tmp_path):
    assert evaluate("--run", finished_run, "--split", "dev", "--output-dir", tmp_path) == 0
    assert scores(tmp_path)["tokenised"]["bleu"] == entry(finished_run)["dev"]["bleu"]
    assert scores(tmp_path)["text"] == f"dev of {finished_run.parent / 'data'}"


def test_detokenised_bleu_is_sacrebleus_on_the_raw_references(finished_run, tmp_path):
    assert evaluate("--run", finished_run, "--output-dir", tmp_path) == 0
    hypotheses = [moses_detokeniser("en")(line.split()) for line in lines(tmp_path / "hypotheses.txt")]
    assert lines(tmp_path / "hypotheses.detokenised.txt") == hypotheses
    raw = [target for _, target in raw_text().splits["test"]]
    expected = sacrebleu.corpus_bleu(hypotheses, [raw], lowercase=True)
    assert scores(tmp_path)["detokenised"]["bleu"] == expected.score
    assert "case:lc|eff:no|tok:13a|smooth:exp" in scores(tmp_path)["detokenised"]["signature"]


def test_files_are_prepared_as_the_training_data_was(finished_run, tmp_path):
    """The raw test split from files: the same words, the same scores."""
    for side, name in enumerate(("source", "target")):
        text = "".join(f"{pair[side]}\n" for pair in raw_text().splits["test"])
        (tmp_path / name).write_text(text)
    files = ["--source", tmp_path / "source", "--target", tmp_path / "target"]
    assert evaluate("--run", finished_run, "--output-dir", tmp_path / "split") == 0
    assert evaluate("--run", finished_run, *files, "--output-dir", tmp_path / "files") == 0
    split, found = scores(tmp_path / "split"), scores(tmp_path / "files")
    assert (found["tokenised"], found["detokenised"]) == (split["tokenised"], split["detokenised"])
    raw = ["--source", tmp_path / "source", "--raw-references", tmp_path / "target"]
    assert evaluate("--run", finished_run, *raw, "--output-dir", tmp_path / "raw") == 0
    assert scores(tmp_path / "raw")["detokenised"] == split["detokenised"]
    assert "tokenised" not in scores(tmp_path / "raw")


def test_decoding_and_unknown_words_can_be_chosen(finished_run, tmp_path):
    def hypotheses(*options: str) -> list[str]:
        assert evaluate("--run", finished_run, *options, "--output-dir", tmp_path) == 0
        return lines(tmp_path / "hypotheses.txt")

    kept = hypotheses()
    assert any("<unk>" in line for line in kept)
    assert hypotheses("--unknown", "drop") == [" ".join(line.replace("<unk>", "").split()) for line in kept]
    copied = hypotheses("--unknown", "copy")
    assert not any("<unk>" in line for line in copied)
    test = Corpus.load(finished_run.parent / "data").splits["test"]
    for i, (before, after) in enumerate(zip(kept, copied, strict=True)):
        for old, new in zip(before.split(), after.split(), strict=True):
            assert new == old if old != "<unk>" else new in test.source_text(i).split()
    assert max(len(line.split()) for line in hypotheses("--max-length", "4")) == 3
    assert scores(tmp_path)["decoding"]["max_length"] == 4


def test_other_data_of_the_same_vocabularies_is_said_and_of_others_refused(finished_run, tmp_path, capsys):
    text = raw_text()
    shorter = type(text)("test", {**text.splits, "test": text.splits["test"][:10]})
    prepare(preparation(tmp_path / "a"), shorter)
    assert evaluate("--run", finished_run, "--data-dir", tmp_path / "a", "--output-dir", tmp_path) == 0
    assert "which stage mle was trained on; the vocabularies are the same" in capsys.readouterr().out
    assert scores(tmp_path)["sentences"] == 10
    prepare(preparation(tmp_path / "b").model_copy(update={"min_count": 5}), text)
    assert evaluate("--run", finished_run, "--data-dir", tmp_path / "b") == 2
    error = capsys.readouterr().err
    assert "has other vocabularies than the training data of stage mle: give the --data-dir" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--source", "S"], "`target`"),
        (["--target", "S"], "--source must be given with --target"),
        (["--source", "S", "--target", "S", "--split", "dev"], "must be left out with --source"),
        (["--source", "S", "--target", "T"], "ends before line"),
        (["--source", "B", "--raw-references", "S"], "is not UTF-8"),
        (["--raw-references", "S"], "has 2 lines for 60 sentences"),
        (["--source", "nowhere", "--target", "T"], "No such file or directory"),
        (["--output-dir", "S/out"], "Not a directory: make room there, or give another folder"),
        (["--split", "training"], "must be train, dev or test"),
        (["--run", "nowhere"], "no such folder"),
        (["--stage", "erac"], "--stage must be one of mle"),
    ],
)
def test_mistakes_are_one_line(options, said, finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("S").write_text("ein Mann\nzwei\n")
    Path("T").write_text("a man\n")
    Path("B").write_bytes(b"ein Mann\nz\xe9\n")
    given = options if "--run" in options else ["--run", finished_run, *options]
    assert evaluate(*given) == 2
    error = capsys.readouterr().err
    assert said.replace("`target`", "--target or --raw-references must be given with --source") in error
    assert error.count("\n") == 1
    assert error.startswith("error: ")


def test_in_a_job_an_output_that_ray_deletes_is_refused(finished_run, tmp_path, monkeypatch, capsys):
    copy = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert evaluate("--run", finished_run, "--output-dir", "results") == 2
    assert capsys.readouterr().err.startswith("error: --output-dir results: in a job this lies in Ray's copy")
    assert list(copy.iterdir()) == []


def test_a_stage_folder_does_not_say_where_its_data_is(finished_run, tmp_path, capsys):
    folder = entry(finished_run)["folder"]
    assert evaluate("--run", folder) == 2
    assert "does not say where its data lies: give --data-dir" in capsys.readouterr().err
    data = finished_run.parent / "data"
    assert evaluate("--run", folder, "--data-dir", data, "--output-dir", tmp_path) == 0
    assert scores(tmp_path)["tokenised"]["bleu"] == entry(finished_run)["test"]["bleu"]
