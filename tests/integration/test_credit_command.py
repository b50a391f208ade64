"""workflows/credit.py on a small finished run: page, numbers, and the artifact of its run in MLflow."""

import json
from pathlib import Path

import pytest

from raysq.commandline import run_command
from raysq.tracking import Tracker, default_uri
from tests.integration.finished_run import entry
from workflows.credit import CreditSettings, main

SMALL = ["--sentences", 2, "--samples", 1, "--alternatives", 2]


def credit(*arguments: object) -> int:
    return run_command(CreditSettings, main, description="", argv=list(map(str, arguments)))


def numbers(folder: Path) -> dict:
    return json.loads((folder / "credit.json").read_text())


def stage_folder(run: Path) -> Path:
    return Path(entry(run)["folder"])


def run_id_of(run: Path) -> str:
    return json.loads((stage_folder(run) / "stage.json").read_text())["run_id"]


def test_page_and_numbers_are_written_and_attached(finished_run, tmp_path, capsys):
    assert credit("--run", finished_run, *SMALL, "--output-dir", tmp_path) == 0
    found = numbers(tmp_path)
    assert (found["stage"], found["algorithm"], found["critic"]) == ("mle", "Mle", None)
    assert found["best_update"] == entry(finished_run)["best_update"]
    assert len(found["sentences"]) == 2
    for sentence in found["sentences"]:
        reference, beam = sentence["sequences"][:2]
        words = [token["word"]["token"] for token in reference["tokens"]]
        expected = [*sentence["reference"].split(), "<eos>"]
        assert [w if v != "<unk>" else v for v, w in zip(words, expected, strict=True)] == words
        dev = (stage_folder(finished_run) / "hypotheses" / "dev.txt").read_text().splitlines()
        decoded = [token["word"]["token"] for token in beam["tokens"][:-1]]
        if "beam search" in beam["labels"]:
            assert " ".join(decoded) == dev[sentence["position"]]
    page = (tmp_path / "credit.html").read_text()
    assert "Credit by token: mle" in page
    run_id = run_id_of(finished_run)
    assert f"artifact credit/credit.html of run {run_id}" in capsys.readouterr().out
    attached = sorted(finished_run.parent.glob(f"artifacts/{run_id}/artifacts/credit/*"))
    assert [path.name for path in attached] == ["credit.html", "credit.json"]
    assert attached[0].read_text() == page


def test_the_same_by_folder_of_the_stage_or_by_its_run_in_mlflow(finished_run, tmp_path, capsys):
    data = ["--data-dir", finished_run.parent / "data", *SMALL, "--output-dir"]
    assert credit("--run", finished_run, "--no-log", *SMALL, "--output-dir", tmp_path / "a") == 0
    assert "MLflow" not in capsys.readouterr().out
    assert credit("--run", stage_folder(finished_run), *data, tmp_path / "b") == 0
    assert "not in MLflow: a stage's folder does not name its store" in capsys.readouterr().out
    store = ["--tracking-uri", default_uri(finished_run.parent)]
    assert credit("--run", run_id_of(finished_run), *store, *data, tmp_path / "c") == 0
    assert "in MLflow: artifact" in capsys.readouterr().out
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b") == numbers(tmp_path / "c")
    assert credit("--run", finished_run, "--no-log", "--seed", 2, *SMALL, "--output-dir", tmp_path / "d") == 0
    assert numbers(tmp_path / "d")["sentences"] != numbers(tmp_path / "a")["sentences"]


def test_a_trial_leads_to_its_final_stage(finished_run, tmp_path, capsys):
    uri = default_uri(tmp_path / "store")
    tracker = Tracker(uri, "raysq")
    stage = tracker.create_run(
        "MLE", {"raysq.level": "stage", "raysq.folder": str(stage_folder(finished_run))}, {}
    )
    tags = {
        "raysq.level": "trial",
        "raysq.final": "mle",
        "raysq.stage.mle": stage,
        "raysq.stage.lost": "0" * 32,
    }
    trial = tracker.create_run("trial", tags, {})
    edited = tracker.create_run("trial", {**tags, "raysq.final": "", "raysq.folder": "/x"}, {})
    moved = tracker.create_run("MLE", {"raysq.level": "stage", "raysq.folder": "/nowhere"}, {})
    sweep = tracker.create_run("sweep", {"raysq.level": "sweep"}, {})
    data = ["--data-dir", finished_run.parent / "data", *SMALL, "--no-log", "--output-dir", tmp_path]
    assert credit("--run", trial, "--tracking-uri", uri, *data) == 0
    assert numbers(tmp_path)["stage"] == "mle"
    capsys.readouterr()
    for run, stage_name, said in (
        (trial, "erac", "has no stage erac: --stage must be one of lost, mle"),
        (trial, "lost", f"has no run {'0' * 32}: give another --tracking-uri"),
        (sweep, "mle", "is of no stage and of no trial: give the id of one, or a folder"),
        (edited, None, "has no stage that is judged: --stage must be one of lost, mle"),
        (moved, None, "/nowhere: no such folder: "),
    ):
        named = [] if stage_name is None else ["--stage", stage_name]
        assert credit("--run", run, *named, "--tracking-uri", uri, *data) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--stage", "erac"], "--stage must be one of mle"),
        (["--run", "nowhere"], "no such folder"),
        (["--run", "0123456789abcdef" * 2], "give --tracking-uri too, the store that has this run"),
        (["--run", "0123456789abcdef" * 2, "--tracking-uri", "URI"], "has no run 0123456789abcdef"),
        (["--run", "STAGE"], "does not say where its data lies: give --data-dir"),
        (["--data-dir", "nowhere"], "holds no prepared data"),
        (
            ["--data-dir", "SMALL"],
            "other vocabularies than the training data of stage mle: give the --data-dir",
        ),
        (["--output-dir", "file/out"], "make room there, or give another folder"),
        (
            ["--tracking-uri", "sqlite:////nowhere/mlflow.db"],
            "no tracking database /nowhere/mlflow.db: give the one that has the runs with --tracking-uri\n",
        ),
        (["--sentences", "0"], "must be at least 1"),
    ],
)
def test_mistakes_are_one_line(options, said, finished_run, small_corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    places = {
        "URI": default_uri(finished_run.parent),
        "STAGE": stage_folder(finished_run),
        "SMALL": small_corpus.folder,
    }
    given = [places.get(option, option) for option in options]
    given = given if "--run" in given else ["--run", finished_run, *given]
    assert credit(*given, *([] if "--sentences" in given else SMALL)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
