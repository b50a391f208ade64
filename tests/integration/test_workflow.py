"""Whole workflows on a small corpus: results, MLflow, reuse, resume, and learners that agree."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from raysq import workflow
from raysq.claim import claim
from raysq.config import UserError
from raysq.places import Places
from raysq.training import checkpoint, journal, stage
from raysq.workflow import main
from workflows.erac import RECIPE

SMALL = [
    "--num-learners=0",
    "--threads-per-learner=1",
    "--quiet",
    "--network.hidden-size=16",
    "--network.embedding-size=16",
    "--network.dropout=0",
    "--decoding.max-length=12",
    "--decoding.beam-size=2",
    "--mle.optimizer=sgd",
    "--mle.learning-rate=0.6",
    "--mle.max-updates=12",
    "--mle.evaluate-every=6",
    "--critic.learning-rate=0.001",
    "--critic.max-updates=6",
    "--critic.evaluate-every=3",
    "--erac.max-updates=6",
    "--erac.evaluate-every=3",
    "--erac.tau=0.045",
]


def train(data: Path, output: Path, *more: str) -> dict:
    status = main(RECIPE, None, [*SMALL, f"--data-dir={data}", f"--output-dir={output}", *more])
    assert status == 0
    return json.loads((output / "result.json").read_text())


def parameters(result: dict, name: str) -> dict[str, torch.Tensor]:
    entry = next(s for s in result["stages"] if s["name"] == name)
    saved = checkpoint.latest(Path(entry["folder"]) / "checkpoints")
    return {k: v for k, v in saved.tensors.items() if k.startswith(("policy.", "critic."))}


def logged_steps(result: dict, name: str) -> list[int]:
    entry = next(s for s in result["stages"] if s["name"] == name)
    return [r.step for r in journal.read(Path(entry["folder"]) / "journal.jsonl")[0]]


def losses(result: dict, name: str) -> dict[tuple[int, str], float]:
    """The loss curve of a stage, from its journal."""
    entry = next(s for s in result["stages"] if s["name"] == name)
    records, _ = journal.read(Path(entry["folder"]) / "journal.jsonl")
    curve = {(r.step, k): v for r in records for k, v in r.metrics.items() if k.startswith("train/loss")}
    assert curve
    return curve


def assert_equal_but_for_rounding(found: dict, expected: dict, name: str, bound: float = 1e-5) -> None:
    """Parameters within the bound, by the norm of each: Adam makes much of gradients of rounding alone."""
    theirs = parameters(expected, name)
    for key, value in parameters(found, name).items():
        distance = float((value - theirs[key]).norm() / theirs[key].norm())
        assert distance < bound, f"{name} {key} {distance}"
    assert losses(found, name) == pytest.approx(losses(expected, name), rel=1e-5)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("finished") / "run"
    return output, train(data, output, "--control")


def test_result_names_every_stage_in_order(finished):
    output, result = finished
    assert (result["workflow"], result["task"], result["seed"]) == ("erac", "demo", 1)
    stages = result["stages"]
    assert [s["name"] for s in stages] == ["mle", "critic", "erac", "continued_mle"]
    assert [s["updates"] for s in stages] == [12, 6, 6, 6]
    assert result["updates"] == 30
    assert not any(s["reused"] for s in stages)
    for entry in (stages[0], stages[2], stages[3]):
        assert "tok:none|smooth:none" in entry["test"]["signature"]
        lines = (output / "hypotheses" / f"{entry['name']}.test.txt").read_text().splitlines()
        assert len(lines) == 20
    assert stages[1]["dev"]["td_error"] > 0
    assert -1 <= stages[1]["dev"]["correlation"] <= 1


def test_joint_stage_starts_from_the_best_of_its_parents(finished):
    _, result = finished
    mle, _, erac, control = result["stages"]
    assert erac["scores"][0] == [0, mle["dev"]["bleu"]]
    assert control["scores"][0] == [0, mle["dev"]["bleu"]]


def test_mlflow_holds_a_parent_and_a_child_for_every_stage(finished):
    output, result = finished
    client = MlflowClient(f"sqlite:///{output.parent / 'mlflow.db'}")
    parent = client.get_run(result["run_id"])
    assert parent.info.status == "FINISHED"
    assert parent.data.params["erac.tau"] == "0.045"
    for entry in result["stages"]:
        child = client.get_run(entry["run_id"])
        assert child.info.status == "FINISHED"
        assert child.data.tags["mlflow.parentRunId"] == result["run_id"]
        assert child.data.tags["raysq.stage"] == entry["name"]
    erac = result["stages"][2]["run_id"]
    dev = client.get_metric_history(erac, "dev/bleu")
    assert [(p.step, p.value) for p in dev] == [tuple(s) for s in result["stages"][2]["scores"]]
    assert client.get_run(erac).data.metrics["test_best/bleu"] == result["stages"][2]["test"]["bleu"]
    names = {f.path for f in client.list_artifacts(erac, "hypotheses")}
    assert names == {"hypotheses/dev.txt", "hypotheses/test.txt"}


def test_same_command_reuses_finished_stages_and_another_tau_only_retrains_what_depends_on_it(finished, data):
    output, first = finished
    again = train(data, output.parent / "again")
    assert [s["reused"] for s in again["stages"]] == [True, True, True]
    assert [s["run_id"] for s in again["stages"]] == [s["run_id"] for s in first["stages"][:3]]
    assert [s["test"] for s in again["stages"]] == [s["test"] for s in first["stages"][:3]]
    other = train(data, output.parent / "other", "--erac.tau=0")
    assert [s["reused"] for s in other["stages"]] == [True, True, False]


def test_the_demos_text_is_generated_once(tmp_path, monkeypatch):
    made = workflow.generated("demo", tmp_path)
    few = {split: pairs[:60] for split, pairs in made.text.splits.items()}
    made = replace(made, text=replace(made.text, splits=few))
    monkeypatch.setattr(workflow, "generated", lambda task, beside: made)
    config = RECIPE.config_class()(output_dir=tmp_path / "run")
    places = Places.of("erac", config)
    first = workflow.generated_data(config, places)
    monkeypatch.setattr(workflow, "generated", lambda task, beside: pytest.fail("generated again"))
    assert workflow.generated_data(config, places).digest == first.digest
    words = first.folder / "vocabulary.source.txt"
    words.write_bytes(b"x" * words.stat().st_size)
    with pytest.raises(UserError, match=f"{words}"):
        workflow.generated_data(config, places)


def test_never_trains_everything_afresh(finished, data):
    output, first = finished
    fresh = train(data, output.parent / "fresh", "--reuse=never")
    assert not any(s["reused"] for s in fresh["stages"])
    for name in ("mle", "erac"):
        theirs = parameters(first, name)
        for key, value in parameters(fresh, name).items():
            assert torch.equal(value, theirs[key]), key


@pytest.mark.parametrize(("broken", "at"), [("mle", 8), ("critic", 4), ("erac", 5)])
def test_interrupted_workflow_continues_to_the_same_parameters(
    finished, data, tmp_path, monkeypatch, broken, at
):
    _, undisturbed = finished
    update = stage._StageRun._update

    def failing(run):
        if run.spec.name == broken and run.progress.update == at:
            raise KeyboardInterrupt
        update(run)

    monkeypatch.setattr(stage._StageRun, "_update", failing)
    arguments = [*SMALL, f"--data-dir={data}", f"--output-dir={tmp_path / 'run'}"]
    assert main(RECIPE, None, arguments) == 130
    assert not (tmp_path / "run" / "result.json").exists()
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert {r.info.status for r in runs} <= {"KILLED", "FINISHED"}
    monkeypatch.undo()
    resumed = train(data, tmp_path / "run")
    for name in ("mle", "critic", "erac"):
        expected = parameters(undisturbed, name)
        for key, value in parameters(resumed, name).items():
            assert torch.equal(value, expected[key]), (name, key)
        # continued, not begun again: no update was logged twice
        assert logged_steps(resumed, name) == logged_steps(undisturbed, name)
    assert [s["test"] for s in resumed["stages"]] == [s["test"] for s in undisturbed["stages"][:3]]


def scripted(monkeypatch, name: str, scores: dict[int, float]) -> None:
    """Let dev BLEU of a stage be what the script says at each update."""
    dev_scores = stage._StageRun._dev_scores

    def scores_by_script(run):
        found = dev_scores(run)
        return found | {"bleu": scores[run.progress.update]} if run.spec.name == name else found

    monkeypatch.setattr(stage._StageRun, "_dev_scores", scores_by_script)


def test_a_decision_to_stop_survives_an_interruption_before_the_closing_scores(data, tmp_path, monkeypatch):
    stopping = ["--mle.max-decays=1", "--mle.max-updates=60", "--mle.evaluate-every=2"]
    scripted(monkeypatch, "mle", {2: 5.0, 4: 6.0, 6: 5.5, 8: 6.0, 10: 5.0})
    undisturbed = train(data, tmp_path / "a" / "run", *stopping)
    mle = undisturbed["stages"][0]
    assert mle["stopped_by"] == "no improvement after 1 decays"
    assert (mle["updates"], mle["best_update"]) == (10, 8)
    score_best = stage._StageRun._score_best

    def failing(run):
        raise KeyboardInterrupt

    monkeypatch.setattr(stage._StageRun, "_score_best", failing)
    arguments = [*SMALL, *stopping, f"--data-dir={data}", f"--output-dir={tmp_path / 'b' / 'run'}"]
    assert main(RECIPE, None, arguments) == 130
    monkeypatch.setattr(stage._StageRun, "_score_best", score_best)
    resumed = train(data, tmp_path / "b" / "run", *stopping)
    assert [s["updates"] for s in resumed["stages"]] == [s["updates"] for s in undisturbed["stages"]]
    assert [s["test"] for s in resumed["stages"]] == [s["test"] for s in undisturbed["stages"]]


def test_a_policy_that_collapses_is_marked_diverged_and_its_best_checkpoint_kept(data, tmp_path, monkeypatch):
    scripted(monkeypatch, "erac", {0: 30.0, 1: 20.0, 2: 14.0, 3: 16.0, 4: 14.0, 5: 13.0})
    arguments = [*SMALL, f"--data-dir={data}", f"--output-dir={tmp_path / 'run'}"]
    assert main(RECIPE, None, [*arguments, "--erac.evaluate-every=1", "--erac.max-updates=9"]) == 3
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    mle, _, erac = result["stages"]
    assert erac["state"] == "diverged"
    named = ", ".join(map(str, erac["diverged_on"][:8]))
    assert erac["stopped_by"] == (
        f"dev bleu fell under half of its best (30.00) twice at update 4 (training examples {named} ...)"
    )
    assert (erac["updates"], erac["best_update"]) == (5, 0)
    assert {name: erac["test"][name] for name in mle["test"]} == mle["test"]
    assert "the critic explains" in erac["warnings"][0]
    run = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}").get_run(erac["run_id"])
    assert (run.info.status, run.data.tags["raysq.state"]) == ("FINISHED", "diverged")


def test_a_critic_made_for_another_entropy_is_warned_of(data, tmp_path, capsys):
    short = [f"--{stage}.max-updates=1" for stage in ("mle", "critic", "erac")]
    settings = ["--critic.tau=0.02", "--erac.min-explained=-1e9", "--quiet=false"]
    result = train(data, tmp_path / "run", *short, *settings)
    line = "--critic.tau (0.02) and --erac.tau (0.045) differ: they should agree"
    assert [entry["warnings"] for entry in result["stages"]] == [[], [], [line]]
    printed = capsys.readouterr().out.splitlines()
    at = [index for index, text in enumerate(printed) if text == f"warning: {line}"]
    assert len(at) == 2  # before the training and after it
    assert printed[at[0] - 1].startswith("stage erac trains in ")


def test_a_second_command_in_one_output_folder_is_refused(finished, data, capsys):
    output, _ = finished
    with claim(output, "x", "y"):
        status = main(RECIPE, None, [*SMALL, f"--data-dir={data}", f"--output-dir={output}"])
    assert status == 2
    assert "is in use by process" in capsys.readouterr().err


def test_gradients_accumulated_over_parts_equal_whole_batches(data, tmp_path, float64):
    """Thirty updates of every stage: in float32 a rounding error would by then have turned a sample."""
    stages = ("mle", "critic", "erac")
    longer = [f"--{name}.{setting}=30" for name in stages for setting in ("max-updates", "evaluate-every")]
    whole, parted = (
        train(data, tmp_path / str(parts) / "run", *longer, f"--gradient-accumulation={parts}")
        for parts in (1, 3)
    )
    assert not any(s["reused"] for s in parted["stages"])
    for name in stages:
        assert_equal_but_for_rounding(parted, whole, name, bound=1e-9)


def test_two_learners_and_three_reward_workers_equal_one_process(finished, data, tmp_path):
    _, alone = finished
    command = [sys.executable, "workflows/erac.py", *SMALL[1:], f"--data-dir={data}"]
    command += [f"--output-dir={tmp_path / 'run'}", "--num-learners=2", "--num-reward-workers=3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    together = json.loads((tmp_path / "run" / "result.json").read_text())
    for name in ("mle", "critic", "erac"):
        assert_equal_but_for_rounding(together, alone, name)
    assert together["stages"][2]["reward_wait_share"] > 0
