from raysq.report.groups import axes_of, baseline_of, groups_of, of_seeds, pairs, setting
from raysq.sweep.space import Arm, Axis
from tests.report.made import grid, results, stage, trial

TAU = Axis("tau", (0.0, 0.1), ("critic.tau", "erac.tau"))


def test_seeds_of_stages_are_repetitions():
    arms = (Arm("ERAC", "erac", axes=(TAU, *grid("erac"))),)
    trials = [
        trial("ERAC", 1, 50.0 + c + a, {"tau": tau, "critic seed": str(c), "actor seed": str(a)})
        for tau in ("0.0", "0.1")
        for c in (1, 2)
        for a in (1, 2)
    ]
    groups = groups_of(results(trials, arms))
    assert [g.label for g in groups] == ["ERAC, tau 0.0", "ERAC, tau 0.1"]
    assert groups[0].scores("test", "bleu") == [52.0, 53.0, 53.0, 54.0]
    assert [axis.name for axis in axes_of(results(trials, arms).space, "ERAC")] == ["tau"]


def test_an_axis_without_keys_is_known_by_its_name():
    assert of_seeds(Axis("critic.seed", (1, 2)))
    assert not of_seeds(Axis("critic.tau", (1, 2)))
    assert not of_seeds(Axis("both", (1, 2), ("critic.seed", "erac.tau")))


def test_what_did_not_finish_is_excluded_and_counted():
    states = ("finished", "diverged", "diverged", "not run")
    (group,) = groups_of(results([trial(seed=s, bleu=9.0, state=state) for s, state in enumerate(states)]))
    assert group.summary("test", "bleu").n == 1
    assert group.excluded == {"diverged": 2, "not run": 1}
    assert group.summary("test", "rouge_l") is None


def test_baseline_of_the_same_values_or_the_only_one():
    arms = (Arm("MLE", "mle"), Arm("AC", "ac", axes=(TAU,)), Arm("ERAC", "erac", axes=(TAU,)))
    trials = [trial("MLE", bleu=1.0)]
    trials += [trial(arm, bleu=2.0, values={"tau": tau}) for arm in ("AC", "ERAC") for tau in ("0.0", "0.1")]
    mle, _, ac_high, _, erac_high = groups = groups_of(results(trials, arms))
    assert baseline_of(groups, "AC", erac_high) is ac_high
    assert baseline_of(groups, "MLE", erac_high) is mle
    assert baseline_of(groups, "AC", mle) is None  # either would do
    assert baseline_of(groups, "MLE", mle) is None
    assert baseline_of(groups, None, mle) is None


def test_pairs_have_the_same_seed():
    trials = [trial("MLE", s, 10.0 + s) for s in (1, 2, 3)] + [trial("RAML", s, 20.0 + s) for s in (2, 3, 4)]
    mle, raml = groups_of(results(trials))
    found = pairs(raml, mle, "bleu")
    assert [[(a.test["bleu"], b.test["bleu"]) for a, b in of_seed] for of_seed in found] == [
        [(22.0, 12.0)],
        [(23.0, 13.0)],
    ]


def test_a_grid_beside_the_actor_it_began_at_is_one_seed_and_beside_a_grid_as_many_as_it_has():
    arms = (Arm("MLE", "mle"), Arm("AC", "ac", axes=grid("ac")), Arm("ERAC", "erac", axes=grid("erac")))
    trials = [trial("MLE", 1, 10.0)] + [
        trial(arm, 1, 20.0, {"critic seed": str(c), "actor seed": str(a)})
        for arm in ("AC", "ERAC")
        for c in (1, 2)
        for a in (1, 2)
    ]
    mle, ac, erac = groups_of(results(trials, arms))
    assert [len(of_seed) for of_seed in pairs(erac, mle, "bleu")] == [4]
    assert [len(of_seed) for of_seed in pairs(erac, ac, "bleu")] == [1, 1, 1, 1]


def test_captions_name_schedules_that_were_cut_short():
    stages = [stage("mle"), stage("erac", ["mle"], updates=1160, stopped_by="all of 1160 updates done")]
    assert setting(results([trial("ERAC", 1, 5.0, stages=stages, final="erac")])) == (
        "demo (short schedules: erac 1,160 updates)"
    )
    assert setting(results([trial("MLE", 1, 5.0, stages=[stage("mle")])])) == "demo"
