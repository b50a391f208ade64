"""The examples of workflows/examples run, at tiny sizes and in this process; one of them on Ray (slow)."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from raysq.config import UserError
from raysq.data.shards import Corpus
from raysq.finished import DecodeSettings, FinishedStage
from raysq.models import EncoderDecoder
from raysq.recipe import Recipe
from raysq.tasks.grammar import generate
from raysq.types import BOS
from raysq.workflow import main
from workflows import reinforce

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "workflows" / "examples"
FEW = {"reinforce__num_samples": 2, "reinforce__batch_size": 8, "reinforce__max_length": 10}
"""What scoring in Python takes its time over."""


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An example by its name, imported as Ray's processes would."""
    monkeypatch.syspath_prepend(EXAMPLES)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def tiny(output: Path, data: Path, *stages: str, **more: object) -> list[str]:
    """Arguments of a run of 8 updates a stage."""
    settings = {
        "data-dir": data,
        "output-dir": output,
        "num-learners": 0,
        "threads-per-learner": 1,
        "quiet": "true",
        "network.hidden-size": 16,
        "network.embedding-size": 16,
        "network.critic-embedding": "separate",
        "decoding.max-length": 12,
        "decoding.beam-size": 2,
    }
    for stage in stages:
        settings |= {f"{stage}.max-updates": 8, f"{stage}.evaluate-every": 4}
    settings |= {name.replace("__", ".").replace("_", "-"): value for name, value in more.items()}
    return [f"--{name}={value}" for name, value in settings.items()]


def stages(output: Path) -> dict[str, dict[str, Any]]:
    """The entries of a run's result.json by name, each with what its stage.json says."""
    entries = json.loads((output / "result.json").read_text())["stages"]
    return {e["name"]: e | json.loads(Path(e["folder"], "stage.json").read_text()) for e in entries}


def test_own_text(example: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module, pairs = example("own_text"), tmp_path / "pairs.tsv"
    made = generate(sizes={"train": 150, "dev": 2, "test": 2})["train"]
    pairs.write_text("".join(f"{source}\t{target}\n" for source, target in made))
    settings = module.OwnText(pairs=pairs, place=tmp_path / "own", max_epochs=1, num_learners=0)
    assert module.main(settings) == 0
    reported = stages(tmp_path / "own" / "run")["mle"]["test"]["bleu"]
    assert f"test BLEU {reported:.2f} (" in capsys.readouterr().out


def test_own_reward(example: Any, data: Path, tmp_path: Path) -> None:
    recipe: Recipe = example("own_reward").RECIPE
    words = data / "vocabulary.target.txt"
    arguments = tiny(tmp_path / "run", data, "mle", "reinforce", **FEW)
    assert main(recipe, None, arguments) == 2  # which words the ids mean is not said
    assert main(recipe, None, [*arguments, f"--reward.vocabulary={words}"]) == 0
    found = stages(tmp_path / "run")
    assert "own" not in found["mle"]
    assert found["reinforce"]["own"] == {"reward": "own_reward.Chrf"}
    stage = FinishedStage.open(tmp_path / "run")
    assert len(stage.translator(DecodeSettings(run=tmp_path)).translate([["der"]])) == 1
    with pytest.raises(UserError, match=r"was trained with reward own_reward\.Chrf of a file"):
        stage.reward()


def test_own_algorithm(example: Any, data: Path, tmp_path: Path) -> None:
    recipe: Recipe = example("own_algorithm").RECIPE
    arguments = tiny(tmp_path / "run", data, "mle", "best_of_n", best_of_n__num_samples=3, control="true")
    assert main(recipe, None, arguments) == 0
    found = stages(tmp_path / "run")
    assert found["best_of_n"]["own"] == {"algorithm": "own_algorithm.BestOfN"}
    assert found["continued_mle"]["updates"] == found["best_of_n"]["updates"] == 8
    with pytest.raises(UserError, match=r"was trained with algorithm own_algorithm\.BestOfN of"):
        FinishedStage.open(tmp_path / "run").algorithm()


def test_own_algorithm_learns_from_the_best_alone(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each sentence the likelihood of one sample counts; which one, the payoffs say."""
    module = example("own_algorithm")
    payoffs = torch.tensor([0.1, 0.4, 0.2, 0.9, 0.3, 0.3])
    rewards = SimpleNamespace(result=lambda: SimpleNamespace(sequence=payoffs))
    mask = torch.ones(6, 2, dtype=torch.bool)
    samples = SimpleNamespace(mask=mask, forced_eos=~mask)
    monkeypatch.setattr(module, "mle_objective", lambda *arguments, weights: weights)
    [weights], metrics = module.BestOfN(num_samples=3).objectives(None, samples, rewards, None, None)
    assert weights.tolist() == [0, 1, 0, 1, 0, 0]
    assert metrics["best_payoff"] == (pytest.approx(1.3), 2.0)


def test_own_task(example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = example("own_task")
    monkeypatch.chdir(tmp_path)
    arguments = ["--num-learners=0", "--threads-per-learner=1", "--quiet", "--decoding.max-length=8"]
    arguments += ["--decoding.beam-size=1", "--mle.max-updates=96", "--mle.evaluate-every=48"]
    assert module.run(arguments) == 0
    config = json.loads((tmp_path / "runs" / "numbers-numbers-seed1" / "config.json").read_text())
    assert (config["task"], config["mle"]["learning_rate"]) == ("numbers", 3e-3)
    assert stages(tmp_path / "runs" / "numbers-numbers-seed1")["mle"]["test"]["sample_bleu"] > 30
    assert main(module.RECIPE, None, ["--task=number"]) == 2


def test_own_network(example: Any, data: Path, tmp_path: Path) -> None:
    module, run = example("own_network"), tmp_path / "run"
    arguments = tiny(run, data, "mle", mle__learning_rate=0.01)
    assert main(module.RECIPE, None, arguments) == 0
    assert stages(run)["mle"]["own"] == {"network": "own_network.TransformerSettings"}
    with pytest.raises(
        UserError, match=r"has networks of own_network\.TransformerSettings, not of raysq: open"
    ):
        FinishedStage.open(run)
    stage = FinishedStage.open(run, network=module.TransformerSettings)
    assert stage.network.num_layers == 2  # type: ignore[attr-defined]
    split = Corpus.load(data).splits["test"]
    translator = stage.translator(DecodeSettings(run=run))
    again = translator.translate([split.source_text(i).split() for i in range(len(split))])
    decoded = (stage.folder / "hypotheses" / "test.txt").read_text().splitlines()
    assert [" ".join(best.words) for best, *_ in again] == decoded
    with pytest.raises(UserError, match="--unknown copy: this policy is no network of raysq"):
        stage.translator(DecodeSettings(run=run, unknown="copy"))


def test_a_network_that_steps_as_it_reads(example: Any, float64: None) -> None:
    """features == scan(step), at every position, padding of the source or not."""
    network: EncoderDecoder = example("own_network").TransformerSettings(hidden_size=8).policy(9, 7)
    network.initialise(torch.Generator().manual_seed(1))
    sources = torch.tensor([[4, 5, 6, 2], [7, 2, 0, 0]])
    memory = network.encode(sources, sources != 0)
    inputs = torch.tensor([[BOS, 4, 5, 6], [BOS, 6, 6, 4]])
    whole = network.features(memory, inputs)
    state = network.initial_state(memory)
    for t in range(4):
        features, state = network.step(memory, state, inputs[:, t])
        torch.testing.assert_close(features, whole[:, t])
    assert whole.std() > 0.1  # norms of layers are the identity, not drawn
    alone = network.encode(sources[1:, :2], sources[1:, :2] != 0)
    torch.testing.assert_close(network.features(alone, inputs[1:]), whole[1:])


def test_continuing_a_finished_actor(example: Any, data: Path, tmp_path: Path) -> None:
    few: dict[str, object] = {"reinforce__num_samples": 2, "store_dir": tmp_path / "stages"}
    assert main(reinforce.RECIPE, None, tiny(tmp_path / "a", data, "mle", "reinforce", **few)) == 0
    more = tiny(tmp_path / "b", data, "mle", "reinforce", "mrt", mrt__num_samples=3, **few)
    assert main(example("continue_actor").RECIPE, None, more) == 0
    before, after = stages(tmp_path / "a"), stages(tmp_path / "b")
    assert {name: stage["reused"] for name, stage in after.items()} == {
        "mle": True,
        "reinforce": True,
        "mrt": False,
    }
    assert after["reinforce"]["folder"] == before["reinforce"]["folder"]
    assert after["mrt"]["parents"] == {"policy": before["reinforce"]["identity"]}


def test_plain_pytorch(example: Any) -> None:
    scores = example("plain_pytorch").learn(120)
    assert scores[0] < 0.3
    assert scores[-1] > scores[0] + 0.3


def test_losses_and_rewards_need_no_ray() -> None:
    program = "import sys, raysq.losses, raysq.rewards; print('ray' in sys.modules, 'mlflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.slow
def test_own_reward_on_ray(data: Path, tmp_path: Path) -> None:
    """Learner and reward workers import the class from the program's folder."""
    arguments = tiny(tmp_path / "run", data, "mle", "reinforce", num_learners=1, **FEW)
    script = [sys.executable, str(EXAMPLES / "own_reward.py"), *arguments]
    script.append(f"--reward.vocabulary={data / 'vocabulary.target.txt'}")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert stages(tmp_path / "run")["reinforce"]["own"] == {"reward": "own_reward.Chrf"}
