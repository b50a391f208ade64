import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from raysq.algorithms import ActorCritic, Mle, Vaml
from raysq.config import DecodingConfig, NetworkConfig, UserError, flatten
from raysq.data.shards import Corpus
from raysq.finished import DecodeSettings, FinishedStage, data_dir_of
from raysq.proposals import NgramReplacement
from raysq.rewards.settings import RewardSettings
from raysq.training import checkpoint
from raysq.training.state import build_critic, build_policy

NETWORK = NetworkConfig(embedding_size=6, hidden_size=8, attention="additive", input_feeding=True)
DECODING = DecodingConfig(beam_size=3, max_length=9, length_normalisation=0.5, batch_size=7)
PARENTS: dict[str, dict[str, str]] = {
    "mle": {},
    "critic": {"policy": "id of mle"},
    "erac": {"policy": "id of mle", "critic": "id of critic"},
    "continued_mle": {"policy": "id of mle", "like": "id of erac"},
}


@pytest.fixture
def run(small_corpus: Corpus, tmp_path: Path) -> Path:
    """A finished workflow with a critic and a control; its policies are drawn, by stage."""
    entries = []
    for seed, (name, parents) in enumerate(PARENTS.items()):
        folder = tmp_path / "stages" / f"{name}-0123456789ab-01234567"
        small_corpus.preparation.save(folder / "preparation")
        policy = build_policy(small_corpus, NETWORK)
        policy.initialise(torch.Generator().manual_seed(seed))
        tensors = {f"policy.{key}": tensor.detach() for key, tensor in policy.named_parameters()}
        vocabularies = {"vocabularies": small_corpus.preparation.vocabulary_digests}
        checkpoint.save(folder / "checkpoints", 5, tensors, vocabularies, best=True)
        checkpoint.save(folder / "checkpoints", 6, {k: v + 1 for k, v in tensors.items()}, vocabularies)
        network, decoding = flatten(NETWORK), flatten(DECODING)
        made_of = {"network": network, "decoding": decoding, "data": "d1", "parents": parents}
        record = {"stage": name, "algorithm": "Mle", "seed": 1, "version": "v", "run_id": "id", **made_of}
        (folder / "stage.json").write_text(json.dumps(record))
        scores = {"td_error": 0.5} if name == "critic" else {"bleu": 12.5}
        result = {"name": name, "updates": 6, "best_update": 5, "dev": scores, "test": scores}
        result |= {"stopped_by": "all of 6 updates done", "warnings": [], "seconds": 3.5}
        result["state"] = "finished"
        (folder / "result.json").write_text(json.dumps(result))
        entries.append({**result, "folder": str(folder)})
    output = tmp_path / "run"
    output.mkdir()
    (output / "result.json").write_text(json.dumps({"workflow": "erac", "stages": entries}))
    (output / "config.json").write_text(
        json.dumps({"task": "demo", "seed": 1, "data_dir": str(small_corpus.folder)})
    )
    return output


@pytest.fixture
def stage_folder(run: Path) -> Callable[[str], Path]:
    return lambda name: run.parent / "stages" / f"{name}-0123456789ab-01234567"


def edit(path: Path, change: Callable[[Any], None]) -> None:
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


def test_the_last_policy_that_is_no_control(run: Path, small_corpus: Corpus) -> None:
    stage = FinishedStage.open(run)
    assert (stage.name, stage.network, stage.decoding) == ("erac", NETWORK, DECODING)
    assert (stage.data_digest, stage.best_update) == ("d1", 5)
    assert stage.preparation == small_corpus.preparation


@pytest.mark.parametrize("name", ["mle", "erac", "continued_mle"])
def test_a_stage_by_its_name_or_by_its_folder(
    name: str, run: Path, stage_folder: Callable[[str], Path]
) -> None:
    assert FinishedStage.open(run, name).folder == stage_folder(name)
    assert FinishedStage.open(stage_folder(name)) == FinishedStage.open(run, name)
    assert FinishedStage.open(stage_folder(name), name).name == name


def test_the_policy_is_that_of_the_best_checkpoint_and_needs_nothing_but_the_stage(
    run: Path, small_corpus: Corpus, stage_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    expected = build_policy(small_corpus, NETWORK)
    expected.initialise(torch.Generator().manual_seed(2))
    moved = tmp_path / "elsewhere"
    shutil.move(stage_folder("erac"), moved)
    shutil.rmtree(run)
    policy = FinishedStage.open(moved).policy("cpu")
    for key, parameter in policy.named_parameters():
        assert torch.equal(parameter, dict(expected.named_parameters())[key]), key
        assert not parameter.requires_grad


def test_decoding_is_the_runs_own_unless_told(run: Path) -> None:
    stage = FinishedStage.open(run)
    assert stage.translator(DecodeSettings(run=run)).decoding == DECODING
    changed = stage.translator(
        DecodeSettings(run=run, beam_size=2, length_normalisation=0, unknown="copy", device="cpu")
    )
    assert changed.decoding == DecodingConfig(beam_size=2, max_length=9, length_normalisation=0, batch_size=7)
    assert changed.unknown == "copy"


def test_a_run_on_text_captions_no_images(run: Path) -> None:
    with pytest.raises(UserError, match=r"stage erac in .* reads text: use python workflows/translate\.py"):
        FinishedStage.open(run).captioner(DecodeSettings(run=run))


def test_where_the_data_lies(run: Path, small_corpus: Corpus, stage_folder: Callable[[str], Path]) -> None:
    assert data_dir_of(run) == small_corpus.folder
    with pytest.raises(UserError, match="does not say where its data lies: give --data-dir"):
        data_dir_of(stage_folder("erac"))


def test_a_stage_without_a_policy_is_refused(run: Path, stage_folder: Callable[[str], Path]) -> None:
    said = "--stage must be one of mle, erac, continued_mle"
    with pytest.raises(UserError, match=said):
        FinishedStage.open(run, "critic")
    with pytest.raises(UserError, match=said):
        FinishedStage.open(run, "vaml")
    with pytest.raises(UserError, match=r"stage critic in .* trains no policy"):
        FinishedStage.open(stage_folder("critic"))
    with pytest.raises(UserError, match="is stage erac: leave --stage out"):
        FinishedStage.open(stage_folder("erac"), "mle")


def test_what_is_not_finished_is_refused(run: Path, stage_folder: Callable[[str], Path]) -> None:
    (stage_folder("erac") / "result.json").unlink()
    with pytest.raises(UserError, match="is not finished: repeat the command that trains it"):
        FinishedStage.open(stage_folder("erac"))
    (run / "result.json").unlink()
    with pytest.raises(UserError, match="holds no finished run: repeat the command that trains it"):
        FinishedStage.open(run)
    with pytest.raises(UserError, match=r"no such folder: .*runs\.py lists"):
        FinishedStage.open(run / "nowhere")


def test_a_stage_that_was_moved_is_asked_for(run: Path, stage_folder: Callable[[str], Path]) -> None:
    shutil.move(stage_folder("erac"), run.parent / "elsewhere")
    with pytest.raises(UserError, match=r"no longer in .*: give its new place with --run"):
        FinishedStage.open(run)
    assert FinishedStage.open(run, "mle").name == "mle"


def test_damage_is_named(run: Path, stage_folder: Callable[[str], Path]) -> None:
    folder = stage_folder("erac")
    edit(folder / "stage.json", lambda tree: tree["network"].update(heads=8))
    with pytest.raises(UserError, match=r"stage\.json is damaged or of another version of raysq"):
        FinishedStage.open(folder)
    (stage_folder("mle") / "result.json").write_text('{"best_up')
    with pytest.raises(UserError, match=r"result\.json is damaged"):
        FinishedStage.open(run, "mle")
    (run / "result.json").write_text("[]")
    with pytest.raises(UserError, match=r"result\.json is damaged"):
        FinishedStage.open(run)
    shutil.rmtree(stage_folder("continued_mle") / "preparation")
    with pytest.raises(UserError, match="lacks preparation/, its vocabularies: copy the whole"):
        FinishedStage.open(stage_folder("continued_mle"))


def test_a_policy_that_cannot_be_trusted_is_refused(run: Path, stage_folder: Callable[[str], Path]) -> None:
    folder = stage_folder("erac")
    words = folder / "preparation" / "vocabulary.target.txt"
    words.write_text("\n".join([*words.read_text().split()[:-1], "other"]) + "\n")
    with pytest.raises(UserError, match="other vocabularies"):
        FinishedStage.open(folder).policy("cpu")
    tensors = stage_folder("mle") / "checkpoints" / "step-00000005" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged"):
        FinishedStage.open(run, "mle").policy("cpu")
    edit(stage_folder("continued_mle") / "stage.json", lambda tree: tree["network"].update(hidden_size=10))
    with pytest.raises(UserError, match="does not fit"):
        FinishedStage.open(run, "continued_mle").policy("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(run: Path) -> None:
    with pytest.raises(UserError, match="--device cuda: this machine has no CUDA device"):
        FinishedStage.open(run).translator(DecodeSettings(run=run, device="cuda"))


def trained_by(folder: Path, algorithm: Any, **record: Any) -> Path:
    """The folder of a stage, with what trained it."""
    made_of = {"algorithm": type(algorithm).__name__, "settings": flatten(algorithm), "reward": {}}
    edit(folder / "stage.json", lambda tree: tree.update(made_of | record))
    return folder


def add_critic(folder: Path, corpus: Corpus, form: Any, seed: int) -> torch.Tensor:
    """Put a critic into the stage's best checkpoint; its output weights."""
    critic = build_critic(corpus, NETWORK, form)
    critic.initialise(torch.Generator().manual_seed(seed))
    saved = checkpoint.best(folder / "checkpoints")
    assert saved is not None
    tensors = {f"critic.{key}": tensor.detach() for key, tensor in critic.named_parameters()}
    checkpoint.save(folder / "checkpoints", 5, saved.tensors | tensors, saved.state, best=True)
    return critic.output.weight


def test_what_trained_it(stage_folder: Callable[[str], Path]) -> None:
    vaml = Vaml(tau=0.3, ngram=NgramReplacement(protect_last=True))
    reward = RewardSettings(name="rouge", rouge="rouge_l")
    stage = FinishedStage.open(trained_by(stage_folder("erac"), vaml, reward=flatten(reward)))
    assert stage.algorithm() == vaml
    assert stage.reward() == reward
    mle = FinishedStage.open(trained_by(stage_folder("mle"), Mle(learning_rate=0.25)))
    assert mle.algorithm() == Mle(learning_rate=0.25)
    assert mle.reward() == RewardSettings()


def test_settings_of_another_version_are_refused(stage_folder: Callable[[str], Path]) -> None:
    folder = trained_by(stage_folder("mle"), Mle())
    for change in ({"settings": {"momentum": 0.9}}, {"algorithm": "Gan"}):
        edit(folder / "stage.json", lambda tree, change=change: tree.update(change))
        with pytest.raises(UserError, match="does not know: use the version that trained it"):
            FinishedStage.open(folder).algorithm()


def test_the_critic_is_the_stages_own_where_it_trained_it(
    small_corpus: Corpus, stage_folder: Callable[[str], Path]
) -> None:
    folder = trained_by(stage_folder("erac"), ActorCritic())
    weight = add_critic(folder, small_corpus, "critic", seed=7)
    networks = FinishedStage.open(folder).networks("cpu")
    assert networks.critic is not None
    assert torch.equal(networks.critic.output.weight, weight)
    assert not networks.critic.output.weight.requires_grad
    expected = FinishedStage.open(folder).policy("cpu").output.weight
    assert torch.equal(networks.policy.output.weight, expected)
    assert FinishedStage.open(trained_by(stage_folder("mle"), Mle())).networks("cpu").critic is None


def test_the_oracle_is_that_of_the_stage_that_trained_it(
    small_corpus: Corpus, stage_folder: Callable[[str], Path]
) -> None:
    identity = "0123456789ab" + "c" * 52
    folder = trained_by(stage_folder("erac"), Vaml(), parents={"critic": identity}, version="v2")
    oracle = stage_folder("critic")
    for other in ("mle", "erac", "continued_mle"):
        stage_folder(other).rename(stage_folder(other).with_name(f"{other}-aaaaaaaaaaaa-01234567"))
    folder = folder.with_name("erac-aaaaaaaaaaaa-01234567")
    weight = add_critic(oracle, small_corpus, "oracle", seed=7)
    networks = FinishedStage.open(folder).networks("cpu")
    assert networks.critic is not None
    assert torch.equal(networks.critic.output.weight, weight)
    # trained again by other sources: the one of the same sources counts
    newer = oracle.with_name("critic-0123456789ab-89abcdef")
    shutil.copytree(oracle, newer)
    with pytest.raises(UserError, match="there is none beside"):
        FinishedStage.open(folder).networks("cpu")
    edit(newer / "stage.json", lambda tree: tree.update(version="v2"))
    add_critic(oracle, small_corpus, "oracle", seed=8)
    networks = FinishedStage.open(folder).networks("cpu")
    assert networks.critic is not None
    assert torch.equal(networks.critic.output.weight, weight)
    edit(oracle / "stage.json", lambda tree: tree.update(version="v2"))
    with pytest.raises(UserError, match="there is more than one beside"):
        FinishedStage.open(folder).networks("cpu")
    shutil.rmtree(oracle)
    shutil.rmtree(newer)
    with pytest.raises(UserError, match=r"stage \*-0123456789ab-\*, of which there is none beside"):
        FinishedStage.open(folder).networks("cpu")


def test_what_a_stage_says_of_its_training_is_checked(stage_folder: Callable[[str], Path]) -> None:
    """By hand anything can be written into stage.json."""
    folder = trained_by(stage_folder("erac"), Vaml(), reward={"name": "rouge", "bleu": "smooth"})
    with pytest.raises(UserError, match=r"stage\.json has a reward that .*: use the version that trained it"):
        FinishedStage.open(folder).reward()
    edit(folder / "stage.json", lambda tree: tree.update(settings={"ngram": 3, "ngram.protect_last": True}))
    with pytest.raises(UserError, match="with settings that this version of raysq does not know"):
        FinishedStage.open(folder).algorithm()
    for parents, said in (({}, "does not say where its critic is from"), ({"critic": "**"}, "there is none")):
        trained_by(folder, Vaml(), parents=parents)
        with pytest.raises(UserError, match=said):
            FinishedStage.open(folder).networks("cpu")


def test_what_was_trained_by_a_class_of_the_user_s(run: Path, stage_folder: Callable[[str], Path]) -> None:
    """A class of the package that has the same name is another."""
    folder = trained_by(stage_folder("mle"), Mle(), own={"algorithm": "file.Mle", "reward": "file.Chrf"})
    stage = FinishedStage.open(folder)
    assert stage.policy("cpu") is not None
    with pytest.raises(UserError, match=r"stage mle in .* was trained with algorithm file\.Mle of a file"):
        stage.algorithm()
    with pytest.raises(UserError, match=r"was trained with reward file\.Chrf of a file"):
        stage.reward()


class OwnSettings(NetworkConfig):
    """A network that this file defines."""

    depth: int = 3
    """How deep."""


def test_networks_of_the_user_s_are_opened_with_their_class(stage_folder: Callable[[str], Path]) -> None:
    folder = stage_folder("mle")
    with pytest.raises(UserError, match=r"has networks of raysq, not of test_finished\.OwnSettings"):
        FinishedStage.open(folder, network=OwnSettings)
    of_user = {"own": {"network": "test_finished.OwnSettings"}}
    edit(folder / "stage.json", lambda tree: tree.update(of_user) or tree["network"].update(depth=5))
    with pytest.raises(
        UserError, match=r"has networks of test_finished\.OwnSettings, not of raysq: open it in"
    ):
        FinishedStage.open(folder)
    assert FinishedStage.open(folder, network=OwnSettings).network == OwnSettings(
        **NETWORK.model_dump(), depth=5
    )
