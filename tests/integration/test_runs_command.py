"""The command line of workflows/runs.py on the storage of a small real workflow: told, pruned, continued."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from raysq.claim import claim
from raysq.data.corpus import GeneratedText
from raysq.data.prepare import PrepareSettings, prepare
from raysq.tasks.grammar import generate
from raysq.training import checkpoint, stage
from raysq.workflow import main
from workflows.erac import RECIPE

ROOT = Path(__file__).parents[2]
SMALL = [
    "--num-learners=0",
    "--threads-per-learner=1",
    "--quiet",
    "--network.hidden-size=16",
    "--network.embedding-size=16",
    "--decoding.max-length=12",
    "--decoding.beam-size=2",
    "--mle.max-updates=12",
    "--mle.evaluate-every=3",
    "--critic.max-updates=6",
    "--critic.evaluate-every=2",
    "--erac.max-updates=6",
    "--erac.evaluate-every=2",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "prepared"
    text = GeneratedText("test", generate(sizes={"train": 300, "dev": 20, "test": 20}))
    return prepare(PrepareSettings(task="demo", output_dir=folder, min_count=1, max_ratio=0), text).folder


SCORES = {"mle": {3: 5.0, 6: 6.0, 9: 4.0, 12: 4.0}, "erac": {0: 6.0, 2: 4.0, 4: 5.0, 6: 5.0}}


@pytest.fixture(autouse=True, scope="module")
def scripted():
    """Dev BLEU of a policy at each update, such that the best is not the last."""
    dev_scores = stage._StageRun._dev_scores

    def scores_by_script(run):
        found = dev_scores(run)
        script = SCORES.get(run.spec.name)
        return found | {"bleu": script[run.progress.update]} if script else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage._StageRun, "_dev_scores", scores_by_script)
        yield


def interrupt(monkeypatch, name: str, at: int) -> None:
    """Let the stage be interrupted before its update of this number."""
    update = stage._StageRun._update

    def failing(run):
        if run.spec.name == name and run.progress.update == at:
            raise KeyboardInterrupt
        update(run)

    monkeypatch.setattr(stage._StageRun, "_update", failing)


def runs(*arguments, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "workflows" / "runs.py", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def as_json(*arguments) -> dict:
    done = runs(*arguments, "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def checkpoints(folder: str) -> list[str]:
    return sorted(path.name for path in (Path(folder) / "checkpoints").iterdir())


def parameters(entry: dict) -> dict[str, torch.Tensor]:
    """Of the best checkpoint, the one that pruning leaves."""
    saved = checkpoint.best(Path(entry["folder"]) / "checkpoints")
    return {k: v for k, v in saved.tensors.items() if not k.startswith("optimizer.")}


@pytest.fixture(scope="module")
def undisturbed(data, scripted, tmp_path_factory) -> dict:
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main(RECIPE, None, [*SMALL, f"--data-dir={data}", f"--output-dir={output}"]) == 0
    return json.loads((output / "result.json").read_text())


def store_of(result: dict) -> str:
    """MLflow's store of another run: a new one would take seconds."""
    return f"--tracking-uri=sqlite:///{Path(result['stages'][0]['folder']).parents[1] / 'mlflow.db'}"


def same_models(result: dict, expected: dict) -> None:
    for entry, other in zip(result["stages"], expected["stages"], strict=True):
        assert (entry["updates"], entry["best_update"]) == (other["updates"], other["best_update"])
        assert (entry["dev"], entry["test"]) == (other["dev"], other["test"])
        theirs = parameters(other)
        assert parameters(entry).keys() == theirs.keys()
        for key, value in parameters(entry).items():
            assert torch.equal(value, theirs[key]), (entry["name"], key)


def test_the_command_it_gives_continues_the_pruned_run_to_the_same_models(
    data, undisturbed, tmp_path, monkeypatch
):
    root = tmp_path / "my runs"
    output = root / "one"
    monkeypatch.chdir(tmp_path)
    interrupt(monkeypatch, "erac", 5)
    relative = ["--output-dir=my runs/one", f"--data-dir={os.path.relpath(data)}", store_of(undisturbed)]
    assert main(RECIPE, None, [*SMALL, *relative]) == 130
    monkeypatch.undo()

    (run,) = as_json("--root", root)["runs"]
    assert (run["workflow"], run["state"], run["folder"]) == ("erac", "interrupted", str(output))
    assert [(s["name"], s["state"], s["update"]) for s in run["stages"]] == [
        ("mle", "finished", 12),
        ("critic", "finished", 6),
        ("erac", "interrupted", 4),
    ]
    expected = undisturbed["stages"]
    assert [s["dev"] for s in run["stages"][:2]] == [
        expected[0]["dev"]["bleu"],
        expected[1]["dev"]["td_error"],
    ]

    folders = [s["folder"] for s in run["stages"]]
    before = [checkpoints(folder) for folder in folders]
    told = runs("--root", root, "--prune")
    assert told.stdout.endswith("can be freed; --yes removes it\n")
    assert [checkpoints(folder) for folder in folders] == before
    assert runs("--root", root, "--prune", "--yes").stdout.endswith("freed\n")
    for folder, entry in zip(folders[:2], expected, strict=False):
        assert checkpoints(folder) == [f"step-{entry['best_update']:08d}"]
    assert before[2] == ["step-00000000", "step-00000002", "step-00000004"]
    assert checkpoints(folders[2]) == ["step-00000000", "step-00000004"]

    advice = as_json("--run", output)["advice"]
    assert "note" not in advice
    python, script, *arguments = shlex.split(advice["continue"])
    assert (python, script) == ("python", str(ROOT / "workflows" / "erac.py"))
    monkeypatch.chdir(data)  # from anywhere: what was relative is written down absolute
    assert main(RECIPE, None, arguments) == 0
    result = json.loads((output / "result.json").read_text())
    assert [s["folder"] for s in result["stages"]] == folders
    assert [s["reused"] for s in result["stages"]] == [True, True, False]
    same_models(result, undisturbed)
    assert as_json("--root", root)["runs"][0]["state"] == "finished"

    runs("--root", root, "--prune", "--yes")
    assert main(RECIPE, None, arguments) == 0  # a finished and pruned run is reused, and another built on it
    assert all(s["reused"] for s in json.loads((output / "result.json").read_text())["stages"])
    assert main(RECIPE, None, [*arguments, "--erac.tau=0", f"--output-dir={root / 'two'}"]) == 0
    two = json.loads((root / "two" / "result.json").read_text())
    assert [s["reused"] for s in two["stages"]] == [True, True, False]


def test_tables_of_a_finished_run(undisturbed):
    root = Path(undisturbed["stages"][0]["folder"]).parents[1]
    listed = runs("--root", ".", "--stages", cwd=root)
    assert (listed.returncode, listed.stderr) == (0, "")
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in listed.stdout.splitlines() if "│" in line
    ]
    erac = undisturbed["stages"][2]
    scores = [f"BLEU {erac[split]['bleu']:.2f}" for split in ("dev", "test")]
    assert rows[0][:7] == ["run", "erac", "demo", "1", "finished", *scores]
    assert [row[:5] for row in rows[1:]] == [
        ["mle", "Mle", "1", "finished", "12"],
        ["critic", "CriticTraining", "1", "finished", "6"],
        ["erac", "ActorCritic", "1", "finished", "6"],
    ]
    shown = runs("--run", "run", cwd=root)
    assert shown.stdout.startswith(f"{root / 'run'}: finished, last changed ")
    evaluate = ROOT / "workflows" / "evaluate.py"
    assert f"evaluate:  python {evaluate} --run {root / 'run'}\n" in shown.stdout
    assert f"mlflow ui --backend-store-uri sqlite:///{root / 'mlflow.db'}\n" in shown.stdout
    assert "continue:" not in shown.stdout


def test_damage_and_changed_sources_are_said(data, undisturbed, tmp_path, monkeypatch):
    interrupt(monkeypatch, "mle", 8)
    places = [f"--data-dir={data}", f"--output-dir={tmp_path / 'one'}", store_of(undisturbed)]
    assert main(RECIPE, None, [*SMALL, *places]) == 130
    (record,) = tmp_path.glob("stages/mle-*/stage.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | {"version": "earlier"}))
    assert "sources have changed" in as_json("--run", tmp_path / "one")["advice"]["note"]
    (weights,) = tmp_path.glob("stages/mle-*/checkpoints/step-00000006/tensors.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    shown = runs("--run", tmp_path / "one")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"warning: checkpoint {weights.parent} is damaged" in shown.stdout
    (tmp_path / "one" / "config.json").write_text("{")
    listed = runs("--root", tmp_path)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert f"warning: {tmp_path / 'one' / 'config.json'} is damaged" in listed.stdout


def test_it_lists_without_the_heavy_imports(tmp_path):
    claim(tmp_path / "one", "it", "wait").close()
    (tmp_path / "one" / "run_id").write_text("abc")
    script = (
        "import runpy, sys\n"
        f"sys.argv = ['runs.py', '--root', {str(tmp_path)!r}, '--stages']\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / 'workflows' / 'runs.py')!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    print(end.code, sorted({'torch', 'ray', 'mlflow', 'numba'} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--root", "."], "holds no runs: name the folder that does with --root"),
        (
            ["--run", "."],
            f"output folder: python {ROOT}/workflows/runs.py --root FOLDER lists",
        ),
        (["--yes"], "--unreferenced, --older-than and --yes need --prune"),
        (["--prune", "--run", "x"], "--prune goes with neither --run nor --stages"),
        (["--run", ".", "--deliver"], "is no output folder of a workflow or of a sweep: give one"),
        (["--deliver"], "--deliver needs --run"),
        (["--tracking-uri", "http://host"], "--tracking-uri needs --deliver"),
        (["--older-than", "-1"], "--older-than -1: must be at least 0"),
    ],
)
def test_mistakes_end_with_one_line_and_status_2(tmp_path, arguments, message):
    done = runs(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_nothing_to_deliver(undisturbed):
    run = Path(undisturbed["stages"][0]["folder"]).parents[1] / "run"
    done = runs("--run", run, "--deliver")
    assert (done.returncode, done.stdout) == (0, f"nothing waits for MLflow in {run}\n")
