import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from raysq.algorithms import ActorCritic, Algorithm, AlphaDimt, CriticTraining, Mle
from raysq.algorithms.base import Follower
from raysq.commandline import parse
from raysq.config import DecodingConfig, UserError
from raysq.recipe import ControlledConfig, PlannedStage, Recipe, Stage, TrainingConfig, plan
from raysq.rewards.settings import RewardSettings

RECIPE = Recipe(
    "erac",
    stages=(
        Stage("mle", Mle()),
        Stage("critic", CriticTraining(tau=0.045), policy="mle"),
        Stage("erac", ActorCritic(tau=0.045), policy="mle", critic="critic"),
    ),
    control=Stage("continued_mle", Mle(), policy="mle", like="erac"),
)
STAGES = ["mle", "critic", "erac", "continued_mle"]


def planned(
    store: Path, data: str = "text", version: str = "now", control: bool = True, **settings: Any
) -> dict[str, PlannedStage]:
    config = RECIPE.config_class().model_validate({"control": control, **settings})
    return {stage.spec.name: stage for stage in plan(RECIPE, config, store, data, version)}


def changed(store: Path, **changes: Any) -> tuple[list[str], list[str]]:
    """Stages whose folder changes, and those whose identity does."""
    before, after = planned(store), planned(store, **changes)
    folders = [name for name in STAGES if after[name].spec.folder != before[name].spec.folder]
    return folders, [name for name in STAGES if after[name].identity != before[name].identity]


def finish(stage: PlannedStage) -> None:
    stage.record.setdefault("run_id", "id")
    stage.write_record()
    result = {"name": stage.spec.name, "state": "finished", "updates": 2, "best_update": 1}
    result |= {"stopped_by": "all of 2 updates done", "warnings": [], "seconds": 3.5}
    (stage.spec.folder / "result.json").write_text(json.dumps({**result, "dev": {}, "test": {}}))


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({"reward": {"bleu": "lin_och_n2"}}, ["critic", "erac", "continued_mle"]),  # MLE scores no samples
        ({"erac": {"tau": 0.04}}, ["erac", "continued_mle"]),
        ({"critic": {"tau": 0.04}}, ["critic", "erac", "continued_mle"]),
        ({"mle": {"learning_rate": 0.5}}, STAGES),
        ({"seed": 2}, STAGES),
        ({"critic": {"seed": 2}}, ["critic", "erac", "continued_mle"]),  # the actor is shared
        ({"network": {"dropout": 0.2}}, STAGES),
        ({"decoding": {"beam_size": 4}}, STAGES),
        ({"data": "other text"}, STAGES),
        ({"max_staleness": 2}, ["erac", "continued_mle"]),  # the one stage whose samples change with it
    ],
    ids=str,
)
def test_what_changes_a_stage_and_those_that_start_from_it(
    tmp_path: Path, changes: dict[str, Any], stages: list[str]
) -> None:
    """The control is like the joint stage, whose number of updates it takes: it follows that."""
    assert changed(tmp_path, **changes) == (stages, stages)


def test_a_stage_with_the_workflow_s_seed_as_its_own_is_the_same_stage(tmp_path: Path) -> None:
    assert changed(tmp_path, erac={"seed": 1}) == ([], [])
    assert planned(tmp_path, erac={"seed": 7})["erac"].spec.seed == 7
    assert planned(tmp_path, erac={"seed": 7})["critic"].spec.seed == 1


def test_other_sources_are_other_folders_of_the_same_settings(tmp_path: Path) -> None:
    assert changed(tmp_path, version="later") == (STAGES, [])


@pytest.mark.parametrize(
    "changes",
    [
        {"output_dir": "elsewhere"},
        {"store_dir": "elsewhere"},  # plan is given the store
        {"data_dir": "elsewhere"},  # the same data
        {"tracking_uri": "sqlite:///x.db"},
        {"num_learners": 4},
        {"num_reward_workers": 3},
        {"num_sample_workers": 3},
        {"worker_resource": "cpu_node"},
        {"sampling": "remote"},
        {"threads_per_learner": 2},
        {"checkpoint_minutes": 1.0},
        {"device": "cpu"},
        {"quiet": True},
        {"verbose": True},
        {"reuse": "same-config"},
        {"task": "files"},
    ],
    ids=str,
)
def test_what_changes_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert changed(tmp_path, **changes) == ([], [])


def test_the_workflow_without_its_control_is_the_same(tmp_path: Path) -> None:
    alone = planned(tmp_path, control=False)
    assert list(alone) == STAGES[:3]
    both = planned(tmp_path)
    assert [both[name].spec for name in alone] == [stage.spec for stage in alone.values()]


def test_stages_know_whom_they_start_from(tmp_path: Path) -> None:
    stages = planned(tmp_path)
    folders = {name: stage.spec.folder for name, stage in stages.items()}
    assert len(set(folders.values())) == 4
    assert {folder.parent for folder in folders.values()} == {tmp_path}
    parents = {n: (s.spec.policy_from, s.spec.critic_from, s.spec.updates_of) for n, s in stages.items()}
    assert parents == {
        "mle": (None, None, None),
        "critic": (folders["mle"], None, None),
        "erac": (folders["mle"], folders["critic"], None),
        "continued_mle": (folders["mle"], None, folders["erac"]),
    }
    identities = {role: stages[name].identity for role, name in (("policy", "mle"), ("critic", "critic"))}
    assert stages["erac"].record["parents"] == identities


def test_the_control_takes_the_joint_stages_schedule(tmp_path: Path) -> None:
    schedule = {
        "optimizer": "adam",
        "learning_rate": 3e-4,
        "beta1": 0.2,
        "clip_norm": 2.0,
        "batch_size": 17,
        "max_updates": 300,
        "evaluate_every": 25,
        "decay": 0.7,
        "linear_decay": True,
    }
    stages = planned(tmp_path, erac={**schedule, "tau": 0.1}, mle={"learning_rate": 0.5})
    control = stages["continued_mle"]
    algorithm = control.spec.algorithm
    assert type(algorithm) is Mle
    expected = ActorCritic.model_validate(schedule)
    assert {name: getattr(algorithm, name) for name in Algorithm.model_fields} == {
        name: getattr(expected, name) for name in Algorithm.model_fields
    }
    assert algorithm.max_epochs == 30
    assert control.spec.updates_of == stages["erac"].spec.folder


def test_finished_is_reused_and_begun_is_resumed(tmp_path: Path) -> None:
    first = planned(tmp_path)
    assert [stage.action for stage in first.values()] == ["train"] * 4
    first["mle"].record["run_id"] = "abc"
    finish(first["mle"])
    (first["critic"].spec.folder / "checkpoints").mkdir(parents=True)
    again = planned(tmp_path)
    assert [stage.action for stage in again.values()] == ["reuse", "resume", "train", "train"]
    assert [stage.reused for stage in again.values()] == [True, False, False, False]
    assert again["mle"].record["run_id"] == "abc"
    assert again["erac"].spec.policy_from == first["mle"].spec.folder
    assert planned(tmp_path, version="later")["mle"].action == "train"


def test_same_config_takes_what_other_sources_made(tmp_path: Path) -> None:
    old, older = planned(tmp_path, version="old"), planned(tmp_path, version="older")
    for stage, age in ((older["mle"], 200), (old["mle"], 100), (old["critic"], 100)):
        finish(stage)
        result = stage.spec.folder / "result.json"
        moment = result.stat().st_mtime - age
        os.utime(result, (moment, moment))
    (older["erac"].spec.folder / "checkpoints").mkdir(parents=True)  # not finished: nobody takes it
    found = planned(tmp_path, version="new", reuse="same-config")
    assert [stage.action for stage in found.values()] == ["reuse", "reuse", "train", "train"]
    assert found["mle"].spec.folder == old["mle"].spec.folder  # the newest
    assert found["mle"].record["version"] == "old"
    assert found["erac"].spec.critic_from == old["critic"].spec.folder
    assert found["erac"].record["version"] == "new"
    other = planned(tmp_path, version="new", reuse="same-config", seed=2)
    assert {stage.action for stage in other.values()} == {"train"}
    assert {stage.action for stage in planned(tmp_path, version="new").values()} == {"train"}


def test_what_was_noted_of_a_stage_comes_back_whole(tmp_path: Path) -> None:
    stage = planned(tmp_path)["mle"]
    stage.record.update(run_id="abc", closed=True)
    stage.write_record()
    assert planned(tmp_path)["mle"].record == stage.record
    assert stage.record.keys() >= {"identity", "settings", "network", "decoding", "data"}


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("stage.json", '{"stage": "m', "stage.json is damaged or of another version of raysq (Invalid JSON"),
        ("stage.json", "{}", "(stage: Field required): move its folder away and repeat the command"),
        ("stage.json", None, "has no stage.json: move it away and repeat the command"),
        ("result.json", "", "result.json is damaged or of another version of raysq (Invalid JSON"),
        ("result.json", "[]", "(Input should be an object): remove the file and repeat the command"),
    ],
)
def test_a_damaged_stage_is_the_users_to_move_away(
    tmp_path: Path, name: str, text: str | None, reason: str
) -> None:
    mle = planned(tmp_path)["mle"]
    finish(mle)
    path = mle.spec.folder / name
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(UserError, match=re.escape(reason)):
        planned(tmp_path)


def test_a_stage_trained_on_another_parent_is_another(tmp_path: Path) -> None:
    """Under --reuse same-config a parent of other sources was taken: its children are not the usual ones."""
    finish(planned(tmp_path, version="old")["mle"])
    mixed, pure = planned(tmp_path, version="new", reuse="same-config"), planned(tmp_path, version="new")
    assert mixed["critic"].identity == pure["critic"].identity
    assert mixed["critic"].spec.folder != pure["critic"].spec.folder


def test_the_record_says_what_the_stage_is(tmp_path: Path) -> None:
    stage = planned(tmp_path)["erac"]
    stage.write_record()
    record = json.loads((stage.spec.folder / "stage.json").read_text())
    assert record["identity"] == stage.identity
    assert (record["stage"], record["algorithm"], record["seed"]) == ("erac", "ActorCritic", 1)
    assert (record["data"], record["version"]) == ("text", "now")
    assert record["settings"]["tau"] == 0.045
    assert stage.spec.folder.name.startswith(f"erac-{stage.identity[:12]}-")


def test_settings_have_a_section_for_every_stage_with_its_defaults() -> None:
    recipe = Recipe("two", stages=(Stage("mle", Mle(learning_rate=0.25)), Stage("again", Mle(), "mle")))
    made = recipe.config_class()
    config = made()
    assert isinstance(config, TrainingConfig)
    assert not isinstance(config, ControlledConfig)  # nothing to control
    assert [stage.algorithm for stage in recipe.stages_of(config)] == [Mle(learning_rate=0.25), Mle()]
    assert issubclass(RECIPE.config_class(), ControlledConfig)
    assert len(RECIPE.stages_of(RECIPE.config_class()())) == 3


def test_a_policy_delayed_in_its_own_way_cannot_be_stale_too() -> None:
    class Delayed(ActorCritic):
        """With a delayed actor."""

        def following_rates(self) -> dict[Follower, float]:
            """Both."""
            return {"target_critic": 0.1, "delayed_policy": 0.1}

    recipe = Recipe("delayed", stages=(Stage("mle", Mle()), Stage("joint", Delayed(), policy="mle")))
    config = recipe.config_class()
    recipe.check(config())
    message = "--max-staleness 3: stage joint draws its samples from a delayed policy of its own: give"
    with pytest.raises(UserError, match=f"^{message}"):
        recipe.check(config(max_staleness=3))


def test_an_update_that_needs_its_batch_whole_has_one_learner_and_one_part() -> None:
    recipe = Recipe("dimt", stages=(Stage("dimt", AlphaDimt(normalise_over="batch", num_samples=1)),))
    config = recipe.config_class()
    for alone in (0, 1):
        recipe.check(config(num_learners=alone))
    message = (
        "stage dimt as it is set needs each batch in one piece: give --num-learners 1 and "
        r"--gradient-accumulation 1 \(now {}\)$"
    )
    with pytest.raises(UserError, match=message.format("2 and 1")):
        recipe.check(config(num_learners=2))
    with pytest.raises(UserError, match=message.format("0 and 3")):
        recipe.check(config(num_learners=0, gradient_accumulation=3))
    of_source = {"dimt": {"normalise_over": "source", "num_samples": 5}}
    recipe.check(config.model_validate({"num_learners": 2, "gradient_accumulation": 3} | of_source))


AGREEING = Recipe(
    "agreeing",
    stages=RECIPE.stages,
    must_agree=(("mle.optimizer", "erac.optimizer"),),
    should_agree=(("critic.tau", "erac.tau"), ("critic.forced_eos", "erac.forced_eos")),
)


def agreeing(**settings: Any) -> TrainingConfig:
    same = {"mle": {"optimizer": "adam"}}
    return AGREEING.config_class().model_validate(same | settings)


def test_what_must_agree_is_refused_where_it_differs() -> None:
    AGREEING.check(agreeing())
    message = r"^--mle.optimizer \(sgd\) and --erac.optimizer \(adam\) differ: give both the same value$"
    with pytest.raises(UserError, match=message):
        AGREEING.check(agreeing(mle={"optimizer": "sgd"}))


def test_what_should_agree_is_a_warning_of_the_later_stage(tmp_path: Path) -> None:
    config = agreeing(critic={"forced_eos": "unrestricted", "tau": 0.1})
    AGREEING.check(config)
    stages = {s.spec.name: s for s in plan(AGREEING, config, tmp_path, "text", "now")}
    assert {name: list(stage.warnings) for name, stage in stages.items()} == {
        "mle": [],
        "critic": [],
        "erac": [
            "--critic.tau (0.1) and --erac.tau (0.045) differ: they should agree",
            "--critic.forced-eos (unrestricted) and --erac.forced-eos (restricted) differ: they should agree",
        ],
    }


def test_critics_agree_in_the_entropy_that_they_learn() -> None:
    def warnings(critic: float, erac: float, future_entropy: bool) -> list[str]:
        joint = {"tau": erac, "future_entropy": future_entropy}
        return AGREEING.warnings(agreeing(critic={"tau": critic}, erac=joint), "erac")

    assert warnings(0.1, 0.1, True) == []
    assert warnings(0.0, 0.1, False) == []
    assert len(warnings(0.1, 0.1, False)) == 1
    assert len(warnings(0.0, 0.1, True)) == 1


PRESETS = Recipe(
    "mle",
    stages=(Stage("mle", Mle(batch_size=7)),),
    reward=RewardSettings(name="rouge"),
    decoding=DecodingConfig(beam_size=10),
    presets={"first": {"mle.optimizer": "sgd", "mle.decay": 0.25, "reward.name": "hamming"}, "second": {}},
)


def settings_of(*argv: str) -> Any:
    return parse(PRESETS.config_class(), argv, prog="mle", description="", defaults_for=PRESETS.defaults)


def test_a_recipe_has_its_own_reward_and_decoding() -> None:
    config = settings_of()
    assert (config.reward.name, config.decoding.beam_size, config.preset) == ("rouge", 10, None)


def test_a_preset_wins_over_the_task_and_an_option_over_the_preset() -> None:
    assert settings_of("--task", "demo").mle.optimizer == "adam"
    config = settings_of("--task", "demo", "--preset", "first")
    assert (config.mle.optimizer, config.mle.decay, config.reward.name) == ("sgd", 0.25, "hamming")
    config = settings_of("--preset", "first", "--mle.decay", "0.75")
    assert (config.mle.optimizer, config.mle.decay) == ("sgd", 0.75)


def test_no_such_preset() -> None:
    with pytest.raises(UserError, match=r"--preset third: must be first or second or none"):
        settings_of("--preset", "third")
    assert "preset" not in RECIPE.config_class().model_fields


def test_a_record_that_says_something_else_than_its_folder_is_refused(tmp_path: Path) -> None:
    first = planned(tmp_path)["mle"]
    finish(first)
    path = first.spec.folder / "stage.json"
    record = json.loads(path.read_text())
    for changes in ({"seed": 2}, {"settings": {**record["settings"], "batch_size": 7}}, {"data": "other"}):
        path.write_text(json.dumps(record | changes))
        (key,) = changes
        with pytest.raises(
            UserError, match=rf"stage\.json was changed: its {key} is another: move its folder"
        ):
            planned(tmp_path)
    path.write_text(json.dumps(record | {"closed": True, "run_id": "other"}))
    assert planned(tmp_path)["mle"].reused
