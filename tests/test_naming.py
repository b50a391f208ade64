import pytest

from raysq.commandline import parse
from raysq.naming import changed_settings, group, label, of_stage, run_name
from workflows.erac import RECIPE


def config(*arguments: str):
    return parse(RECIPE.config_class(), arguments, prog="erac", description="", defaults_for=RECIPE.defaults)


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ((), {}),
        (("--task=demo", "--seed=7", "--num-learners=0", "--quiet"), {}),
        (("--erac.tau=0.045",), {}),  # as it is anyway
        (("--erac.tau=0", "--network.dropout=0.1"), {"erac.tau": 0.0, "network.dropout": 0.1}),
        (("--preset=without_future_entropy",), {"preset": "without_future_entropy"}),
        (
            ("--preset=without_future_entropy", "--critic.tau=0.01"),
            {"preset": "without_future_entropy", "critic.tau": 0.01},
        ),
    ],
)
def test_changed_are_the_settings_that_task_and_preset_would_not_have(arguments, changed):
    assert list(changed_settings(RECIPE, config(*arguments)).items()) == list(changed.items())


def test_a_stage_is_named_by_what_it_depends_on():
    changed = config("--mle.batch-size=7", "--critic.tau=0.1", "--erac.tau=0.1", "--control")
    assert of_stage(RECIPE, changed, "mle") == {"mle.batch_size": 7}
    assert of_stage(RECIPE, changed, "critic") == {"mle.batch_size": 7, "critic.tau": 0.1}
    everything = {"mle.batch_size": 7, "critic.tau": 0.1, "erac.tau": 0.1}
    assert of_stage(RECIPE, changed, "erac") == everything
    assert of_stage(RECIPE, changed, "continued_mle") == everything  # it goes on for as long as ERAC did


def test_networks_and_decoding_belong_to_every_stage():
    changed = config("--network.dropout=0.1", "--decoding.beam-size=2", "--erac.tau=0.1")
    assert of_stage(RECIPE, changed, "mle") == {"network.dropout": 0.1, "decoding.beam_size": 2}


def test_seeds_of_stages_are_no_part_of_a_group():
    changed = config("--critic.seed=2", "--erac.seed=3", "--erac.tau=0.1")
    erac = of_stage(RECIPE, changed, "erac")
    assert erac == {"erac.tau": 0.1, "critic.seed": 2}  # its own is named anyway
    assert of_stage(RECIPE, changed, "critic") == {}
    assert group("ERAC", "demo", changed_settings(RECIPE, changed)) == "ERAC demo erac.tau=0.1"
    assert group("AC", "demo", {"critic seed": 2, "actor seed": 3}) == "AC demo"  # axes of a grid


def test_names():
    assert run_name(label("erac"), "demo", 1, {}) == "ERAC demo seed 1"
    changed = {"preset": "dai2018", "erac.tau": 0.01, "reward.match_unknown": True}
    shown = "preset=dai2018 erac.tau=0.01 reward.match_unknown=true"
    assert run_name("ERAC", "multi30k", 2, changed) == f"ERAC multi30k seed 2 {shown}"
    more = {**changed, "a.b": None, "c.d": 5}
    assert run_name("ERAC", "multi30k", 2, more) == f"ERAC multi30k seed 2 {shown} +2"
    assert group("ERAC", "multi30k", more) == f"ERAC multi30k {shown} a.b=none c.d=5"
    assert label("critic") == "critic"
