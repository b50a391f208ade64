import math
import time

import pytest

from raysq.config import UserError
from raysq.report.gather import completed, of_experiment, with_references
from raysq.report.rows import Evaluation
from raysq.sweep.space import Arm, Axis, Range, Space
from raysq.tracked import Tracked
from tests.report.made import DATA, REFERENCES, results, trial

TAU = Axis("tau", (0.0, 0.1), ("critic.tau", "erac.tau"))
ERAC = Arm("ERAC", "erac", axes=(TAU,))


def gathered(store, data_dirs=()):
    (found,) = of_experiment(Tracked(store.tracker.uri, store.experiment), data_dirs)
    return found


def test_a_trial_with_its_scores_and_stages(store):
    """Of three stages; what they started from is known by their identities."""
    sweep = store.sweep(Space("trained", "Trained", (ERAC,), (1,)))
    result = {"state": "finished", "updates": 20, "best_update": 10, "seconds": 60.125, "dev": {}, "test": {}}
    mle = store.stage(sweep, "mle", {}, {10: {"dev/bleu": 40.0}}, identity="m", result=result)
    critic_history = {10: {"dev/td_error": 0.123456789, "seconds": 3.0, "reward_calls": 100.0}}
    row = {"position": 0, "n": 40, "mean_q": 1.0, "mean_return": 0.5, "correlation": 0.75, "bins": []}
    critic_result = {**result, "reward_calls": 200, "dev": {"calibration": [row]}}
    critic = store.stage(sweep, "critic", {"policy": "m"}, critic_history, identity="c", result=critic_result)
    history = {
        0: {"dev/bleu": 40.0, "seconds": 0.5, "reward_calls": 0.0},
        10: {"dev/bleu": math.nan, "dev/sample_bleu": 30.0, "seconds": 1.5, "reward_calls": 50.0},
        12: {"train/loss": 2.0},
        20: {"dev/bleu": 45.0, "seconds": 2.5, "reward_calls": 100.0},
    }
    noise = {"first": None, "best": {"relative": 2.0}}
    dev = {"bleu": 45.0, "signature": "nrefs:1", "perplexity": 1.8e308}
    scores = {"dev": dev, "test": {"bleu": 44.123456789}}
    joint = store.stage(
        sweep,
        "erac",
        {"policy": "m", "critic": "c"},
        history,
        identity="e",
        result={**result, **scores, "gradient_noise": noise, "seconds": 2.75, "stopped_by": "by hand"},
        hypotheses=["a b", "", "c"],
    )
    control = {"policy": "m", "like": "e"}  # as long as the joint stage, but not after it
    continued = store.stage(sweep, "continued_mle", control, {}, identity="d", result=result)
    stages = {"erac": joint, "critic": critic, "continued_mle": continued, "mle": mle}
    tags = {"raysq.configuration": "c0ffee"}
    store.trial(sweep, "ERAC", 1, "erac", stages, {}, DATA, values={"tau": "0.1"}, **tags)
    (erac,) = gathered(store).trials
    assert (erac.arm, erac.values, erac.seed, erac.state) == ("ERAC", {"tau": "0.1"}, 1, "finished")
    assert (erac.test, erac.dev) == ({"bleu": 44.12346}, {"bleu": 45.0})  # 7 digits, and what is finite
    assert (erac.data, erac.recipe, erac.final) == (DATA, "erac", "erac")
    assert (erac.configuration, erac.started // 10**9 > 1700) == ("c0ffee", True)  # milliseconds since 1970
    assert erac.hypotheses == ["a b", "", "c"]
    after = {stage.name: sorted(stage.after) for stage in erac.stages}
    assert after == {"mle": [], "critic": ["mle"], "continued_mle": ["mle"], "erac": ["critic", "mle"]}
    assert [stage.name for stage in erac.before()] == ["mle", "critic"]
    first, second, third = (erac.stage(name) for name in ("mle", "critic", "erac"))
    assert (first.seconds, first.reward_calls, second.reward_calls) == (60.125, None, 200)
    assert second.calibration[0].correlation == 0.75
    assert third.gradient_noise == noise
    assert (first.stopped_by, third.stopped_by) == ("", "by hand")
    assert [stage.name for stage in erac.stages if stage.control] == ["continued_mle"]
    assert first.curve == [Evaluation(update=10, scores={"bleu": 40.0})]
    assert second.curve == [
        Evaluation(update=10, seconds=3, reward_calls=100, scores={"td_error": 0.1234568})
    ]
    assert third.curve == [
        Evaluation(update=0, seconds=0.5, reward_calls=0, scores={"bleu": 40.0}),
        Evaluation(update=10, seconds=1.5, reward_calls=50, scores={"sample_bleu": 30.0}),
        Evaluation(update=20, seconds=2.5, reward_calls=100, scores={"bleu": 45.0}),
    ]


def test_the_newest_sweep_of_a_space_counts(store):
    space = Space("repeated", "Repeated", (Arm("MLE", "mle"),), (1, 2))
    for score in (10.0, 20.0):
        sweep = store.sweep(space)
        store.trial(sweep, "MLE", 1, "mle", {}, {"test_best/bleu": score, "test_best/x": math.nan}, DATA)
    found = gathered(store)
    assert [t.test for t in found.trials] == [{"bleu": 20.0}]
    assert (found.run_id, found.unfinished) == (sweep, False)


def test_a_sweep_that_has_not_ended(store):
    sweep = store.sweep(Space("going on", "", (Arm("MLE", "mle"),), (1, 2, 3)), status="RUNNING")
    store.trial(sweep, "MLE", 1, "mle", {}, {}, DATA, state="diverged")
    store.trial(sweep, "MLE", 2, "mle", {"mle": "0" * 32}, {}, DATA, state=None)
    result = {"updates": 20, "best_update": 10, "seconds": 60.0, "dev": {}, "test": {"bleu": 33.0}}
    done = store.stage(sweep, "mle", {}, {}, identity="m", result={"state": "finished", **result})
    store.trial(sweep, "MLE", 3, "mle", {"mle": done}, {}, DATA, state=None)
    found = gathered(store)
    assert {t.seed: t.state for t in found.trials} == {1: "diverged", 2: "unfinished", 3: "finished"}
    assert found.unfinished
    assert {t.seed: t.test for t in found.trials} == {1: {}, 2: {}, 3: {"bleu": 33.0}}


def test_references_of_the_data_that_the_trials_were_trained_on(store, small_corpus):
    texts = [small_corpus.splits["test"].target_text(i) for i in range(5)]
    space = Space("with data", "", (Arm("MLE", "mle"),), (1,))
    sweep = store.sweep(space, **{"raysq.data_dir": str(small_corpus.folder)})
    store.trial(sweep, "MLE", 1, "mle", {}, {}, small_corpus.digest)
    assert gathered(store).references == texts
    sweep = store.sweep(space, **{"raysq.data_dir": "/nowhere"})
    store.trial(sweep, "MLE", 1, "mle", {}, {}, small_corpus.digest)
    away = gathered(store)
    assert away.references is None
    assert away.notes == [
        "No bootstrap over sentences: the prepared data are not where they were; give --data-dir."
    ]
    assert gathered(store, [small_corpus.folder]).references == texts


def test_kept_rows_without_references_take_those_of_their_data(small_corpus):
    """Of these data alone; what rows have of themselves stays."""
    texts = [small_corpus.splits["test"].target_text(i) for i in range(5)]
    of_data = results([trial("MLE", 1, 5.0, data=small_corpus.digest)])
    of_others, complete = results([trial("MLE", 1, 5.0)]), results([trial("MLE", 1, 5.0)], None, REFERENCES)
    found = with_references([of_data, of_others, complete], [small_corpus.folder])
    assert [of_one.references for of_one in found] == [texts, None, REFERENCES]


def test_references_of_other_data_do_not_count(store, small_corpus):
    sweep = store.sweep(
        Space("other data", "", (Arm("MLE", "mle"),), (1,)), **{"raysq.data_dir": str(small_corpus.folder)}
    )
    store.trial(sweep, "MLE", 1, "mle", {}, {}, DATA)
    assert gathered(store, [small_corpus.folder]).references is None


def test_a_sweep_without_its_space(store):
    tags = {"raysq.level": "sweep", "raysq.sweep": "empty", "raysq.task": "demo"}
    store.tracker.create_run("empty", tags, {})
    with pytest.raises(UserError, match=r"has no space\.json: repeat its command"):
        gathered(store)


def states(found):
    return {t.said: (t.state, t.test.get("bleu")) for t in found.trials}


def test_every_trial_of_the_space_is_there():
    found = completed([results([trial("ERAC", 1, 5.0, {"tau": "0.1"})], (ERAC,), seeds=(1, 2))])
    assert states(found) == {
        "ERAC tau=0.0 seed 1": ("not run", None),
        "ERAC tau=0.1 seed 1": ("finished", 5.0),
        "ERAC tau=0.0 seed 2": ("not run", None),
        "ERAC tau=0.1 seed 2": ("not run", None),
    }


def test_the_first_place_that_finished_a_trial_counts():
    first = [
        trial("MLE", 1, 1.0),
        trial("MLE", 2, 1.0, state="diverged"),
        trial("MLE", 3, state="unfinished"),
    ]
    second = [
        trial("MLE", 1, 2.0),
        trial("MLE", 2, 2.0),
        trial("MLE", 3, state="failed"),
        trial("MLE", 4, 2.0),
    ]
    found = completed([results(first), results(second, references=REFERENCES)])
    assert states(found) == {
        "MLE seed 1": ("finished", 1.0),
        "MLE seed 2": ("finished", 2.0),
        "MLE seed 3": ("unfinished", None),
        "MLE seed 4": ("finished", 2.0),  # a seed more than the space has
    }
    assert (found.references, found.notes) == (REFERENCES, [])


def test_what_does_not_belong_is_left_out_and_said():
    other = [trial("MLE", 1, 2.0, data="other"), trial("RAML", 1, 2.0), trial("MLE", 1, 3.0, {"tau": "1"})]
    found = completed([results([trial("MLE", 2, 1.0)], seeds=(1, 2)), results(other)])
    assert states(found) == {"MLE seed 1": ("not run", None), "MLE seed 2": ("finished", 1.0)}
    assert found.notes == [
        "1 trials of by hand are left out: they are of other data",
        "2 trials of by hand are left out: the space has them no longer",
    ]


def test_a_search_has_the_trials_that_it_drew():
    arm = Arm("ERAC", "erac", axes=(Axis("tau", Range(0.0, 1.0), ("erac.tau",)),))
    found = completed([results([trial("ERAC", 1, 5.0, {"tau": "0.123"})], (arm,), seeds=(1, 2))])
    assert states(found) == {"ERAC tau=0.123 seed 1": ("finished", 5.0)}


def test_of_an_arm_the_settings_of_its_latest_trials_count():
    """They come first; a divergence does not hide behind a finish of other settings."""
    later = [
        trial("MLE", s, b, state=e, configuration="b")
        for s, b, e in ((1, 70.0, "finished"), (2, None, "diverged"))
    ]
    earlier = [trial("MLE", s, 50.0, configuration="a") for s in (1, 2, 3)]
    other_arm = [trial("RAML", 1, 40.0, configuration="a"), trial("RAML", 2, 41.0, configuration="a")]
    found = completed([results([*later, *earlier, *other_arm], seeds=(1, 2, 3))])
    assert states(found) == {
        "MLE seed 1": ("finished", 70.0),
        "MLE seed 2": ("diverged", None),
        "MLE seed 3": ("not run", None),
        "RAML seed 1": ("finished", 40.0),
        "RAML seed 2": ("finished", 41.0),
        "RAML seed 3": ("not run", None),
    }
    said = "3 trials of by hand are left out: they were trained with other settings than the latest"
    assert found.notes == [said]


def test_settings_of_the_place_that_is_first_count():
    first = [trial("MLE", 1, configuration="a", state="not run"), trial("MLE", 2, 1.0, configuration="b")]
    second = [trial("MLE", 1, 2.0, configuration="a"), trial("MLE", 3, 3.0, configuration="b")]
    found = completed([results(first), results(second)])
    assert states(found) == {
        "MLE seed 1": ("not run", None),  # what was not run decides nothing
        "MLE seed 2": ("finished", 1.0),
        "MLE seed 3": ("finished", 3.0),
    }
    assert len(found.notes) == 1


def test_rows_that_do_not_know_their_settings_go_with_any():
    """But what has diverged was not made up for by what may be of other settings."""
    known = [trial("MLE", s, state=e, configuration="a") for s, e in ((1, "diverged"), (2, "failed"))]
    finished = [trial("MLE", s, 5.0) for s in (1, 2, 3)]
    again = [trial("MLE", 1, 6.0, configuration="a")]
    assert states(completed([results(known), results(finished)])) == {
        "MLE seed 1": ("diverged", None),
        "MLE seed 2": ("finished", 5.0),
        "MLE seed 3": ("finished", 5.0),
    }
    assert states(completed([results(known), results(again)]))["MLE seed 1"] == ("finished", 6.0)


def test_a_search_does_not_ask_for_trials_that_are_left_out():
    arm = Arm("ERAC", "erac", axes=(Axis("tau", Range(0.0, 1.0), ("erac.tau",)),))
    drawn = [trial("ERAC", 1, 5.0, {"tau": t}, configuration=c) for t, c in (("0.1", "b"), ("0.2", "a"))]
    found = completed([results(drawn, (arm,), seeds=(1,))])
    assert states(found) == {"ERAC tau=0.1 seed 1": ("finished", 5.0)}


def test_a_sweep_repeated_with_other_settings(store):
    """Its trials lie below the same run; the newest comes first."""
    sweep = store.sweep(Space("settings", "", (Arm("MLE", "mle"),), (1, 2)))
    for seed, configuration, score in ((1, "a", 50.0), (2, "a", 50.0), (1, "b", 70.0)):
        tags = {"raysq.configuration": configuration}
        store.trial(sweep, "MLE", seed, "mle", {}, {"test_best/bleu": score}, DATA, **tags)
        time.sleep(0.002)
    assert states(completed([gathered(store)])) == {
        "MLE seed 1": ("finished", 70.0),
        "MLE seed 2": ("not run", None),
    }


def test_a_sweep_of_a_space_with_a_mistake(store):
    sweep = store.sweep(Space("mistaken", "", (Arm("MLE", "mle"),), (1,)))
    text = (store.folder / "space.json").read_text().replace('"baseline": null', '"baseline": "mle"')
    store.attach(sweep, "space.json", text)
    with pytest.raises(UserError, match=f"sweep {sweep}: .* baseline mle .* repeat the sweep's command"):
        gathered(store)


RESULT = {"state": "finished", "updates": 20, "best_update": 10, "seconds": 60.5, "dev": {}, "test": {}}


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"raysq.seed": "one"}, r"tag raysq\.seed is not what raysq wrote \(one\)"),
        ({"raysq.seed": "9" * 30}, r"tag raysq\.seed is not what raysq wrote"),
        ({"raysq.arm": ""}, r"tag raysq\.arm is not what raysq wrote"),
        ({"raysq.data": "../../x"}, r"tag raysq\.data is not what raysq wrote"),
    ],
)
def test_tags_of_a_trial_that_somebody_edited(store, tags, said):
    sweep = store.sweep(Space("edited", "Edited", (ERAC,), (1,)))
    store.trial(sweep, "ERAC", 1, "erac", {}, {}, DATA, **tags)
    with pytest.raises(UserError, match=rf"run \w{{32}}: {said}.*: repeat the sweep's command"):
        gathered(store)


def test_a_sweep_whose_task_would_leave_the_reports_folder(store):
    store.sweep(Space("edited", "Edited", (ERAC,), (1,)), **{"raysq.task": "../../x"})
    with pytest.raises(UserError, match=r"tag raysq\.task is not what raysq wrote \(\.\./\.\./x\)"):
        gathered(store)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seconds": None}, r"result\.json of run \w+ is of another version .*seconds: "),
        ({"updates": "many"}, r"result\.json of run \w+ is damaged .*updates: "),
        (
            {"dev": {"calibration": [{"position": 1}]}},
            r"result\.json of run \w+ is of another version .*calibration",
        ),
    ],
)
def test_a_stages_result_that_somebody_edited(store, changes, said):
    sweep = store.sweep(Space("edited", "Edited", (ERAC,), (1,)))
    mle = store.stage(sweep, "mle", {}, {}, identity="m", result={**RESULT, **changes})
    store.trial(sweep, "ERAC", 1, "mle", {"mle": mle}, {}, DATA)
    with pytest.raises(UserError, match=said):
        gathered(store)


def test_stages_that_start_from_each_other(store):
    sweep = store.sweep(Space("edited", "Edited", (ERAC,), (1,)))
    one = store.stage(sweep, "mle", {"policy": "c"}, {}, identity="m", result=RESULT)
    other = store.stage(sweep, "critic", {"policy": "m"}, {}, identity="c", result=RESULT)
    store.trial(sweep, "ERAC", 1, "critic", {"mle": one, "critic": other}, {}, DATA)
    with pytest.raises(UserError, match=r"the stages of run \w{32} start from each other: repeat"):
        gathered(store)
