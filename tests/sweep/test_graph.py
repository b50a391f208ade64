import json
from pathlib import Path
from typing import Any

import pytest

from raysq.data.shards import Corpus
from raysq.sweep.forecast import Forecast, forecast, most_updates, path_and_sum
from raysq.sweep.graph import Graph, kind_of, known_rates
from raysq.sweep.plans import Trials, planned
from raysq.sweep.settings import TuneSettings
from raysq.sweep.space import Arm, Axis, Space
from workflows.tune import recipe_named

GRID = Space(
    "grid",
    "Grid",
    (
        Arm(
            "ERAC",
            "erac",
            axes=(Axis("critic", (1, 2), ("critic.seed",)), Axis("actor", (1, 2), ("erac.seed",))),
        ),
        Arm("continued", "erac", {"control": True}, stage="continued_mle"),
    ),
    seeds=(1,),
)
SMALL = ("mle.max_updates=8", "critic.max_updates=4", "erac.max_updates=6", "mle.batch_size=4")


@pytest.fixture
def found(tmp_path: Path) -> Graph:
    return plan(tmp_path)


def plan(store: Path) -> Graph:
    trials = Trials(GRID, TuneSettings(space="grid", settings=SMALL), recipe_named).all()
    return planned(trials, store, "data", "version")


def names(graph: Graph) -> list[str]:
    return [node.stage.spec.name for node in graph.nodes.values()]


def test_every_stage_once_after_those_it_starts_from(found: Graph) -> None:
    assert sorted(names(found)) == ["continued_mle", *["critic"] * 2, *["erac"] * 4, "mle"]
    seen: set[Path] = set()
    for folder, node in found.nodes.items():
        assert set(node.parents) <= seen
        seen.add(folder)
    control = next(node for node in found.nodes.values() if node.stage.spec.name == "continued_mle")
    assert [parent.name.split("-")[0] for parent in control.parents] == ["mle", "erac"]
    assert [len(node.trials) for node in found.nodes.values() if node.stage.spec.name == "mle"] == [5]


def test_trials_share_the_objects_of_their_stages(found: Graph) -> None:
    """What one of them learns of a stage, its run in MLflow for one, all know."""
    assert len({id(plan.stages[0]) for plan in found.trials}) == 1
    assert found.trials[0].judged.spec.name == "erac"
    assert found.trials[4].judged.spec.name == "continued_mle"
    assert found.trials[0].judged is found.trials[4].stages[2]


def test_the_longest_way_to_the_end(found: Graph) -> None:
    cost = {"mle": 10.0, "critic": 5.0, "erac": 3.0, "continued_mle": 1.0}
    seconds = {folder: cost[node.stage.spec.name] for folder, node in found.nodes.items()}
    remaining = found.remaining_seconds(seconds)
    first, *_ = found.nodes
    assert remaining[first] == 10 + 5 + 3 + 1
    assert sorted(remaining.values()) == [1, 3, 3, 3, 4, 8, 9, 19]
    forecasts = {folder: Forecast(1, cost, "timed") for folder, cost in seconds.items()}
    assert path_and_sum(found, forecasts) == (19, 10 + 2 * 5 + 4 * 3 + 1)


def finish(graph: Graph, name: str, updates: int, seconds: float) -> None:
    node = next(node for node in graph.nodes.values() if node.stage.spec.name == name)
    node.stage.record["run_id"] = "id"
    node.stage.write_record()
    result: dict[str, Any] = {"name": name, "state": "finished", "updates": updates, "best_update": 1}
    result |= {"stopped_by": "all of its updates done", "warnings": []}
    (node.folder / "result.json").write_text(
        json.dumps({**result, "seconds": seconds, "dev": {}, "test": {}})
    )


def test_rates_come_from_finished_stages_of_the_same_kind(
    tmp_path: Path, found: Graph, small_corpus: Corpus
) -> None:
    for name, updates, seconds in (("critic", 4, 2.0), ("erac", 6, 18.0)):
        finish(found, name, updates, seconds)
    again = plan(tmp_path)
    left = [node.stage.spec.name for node in again.to_train]
    assert sorted(left) == ["continued_mle", "critic", *["erac"] * 3, "mle"]
    rates = known_rates(tmp_path)
    told = {node.stage.spec.name: rates.get(kind_of(node)) for node in again.nodes.values()}
    assert told == {"mle": None, "critic": 0.5, "erac": 3.0, "continued_mle": None}
    forecasts = forecast(again, tmp_path, small_corpus, threads=1)
    by_name = {folder.name.split("-")[0]: forecasts[folder] for folder in forecasts}
    assert by_name["critic"] == Forecast(4, 0.5, "trained")
    assert by_name["erac"].seconds == 18.0
    assert (by_name["continued_mle"].updates, by_name["continued_mle"].source) == (6, "timed")
    assert by_name["continued_mle"].rate > 0
    # in batches of another size: of another kind
    assert by_name["continued_mle"].rate != by_name["mle"].rate


def test_updates_at_most(found: Graph, small_corpus: Corpus) -> None:
    of = {n.stage.spec.name: most_updates(n, found, small_corpus) for n in found.nodes.values()}
    assert of == {"mle": 8, "critic": 4, "erac": 6, "continued_mle": 6}


def configurations(space: Space, store: Path, **settings: Any) -> dict[str, set[str]]:
    """By arm."""
    trials = Trials(space, TuneSettings(space=space.name, **settings), recipe_named).all()
    found: dict[str, set[str]] = {}
    for trial in planned(trials, store, "data", "version").trials:
        found.setdefault(trial.trial.arm.label, set()).add(trial.configuration)
    return found


def test_trials_of_an_arm_share_their_configuration(tmp_path: Path) -> None:
    """Seeds and values of axes are no part of it, those that a preset sets neither."""
    axes = (
        Axis("tau", (0.0, 0.1), ("critic.tau", "erac.tau")),
        Axis("dropout", (0.2, 0.3), ("network.dropout",)),
        Axis("staleness", (0, 1), ("max_staleness",)),
        Axis("actor", (1, 2), ("erac.seed",)),
    )
    control = Arm("continued", "erac", {"control": True}, axes[:2], stage="continued_mle")
    preset = Arm("preset", "erac", axes=(Axis("preset", ("without_future_entropy", None)),))
    space = Space("x", "X", (Arm("ERAC", "erac", axes=axes), control, preset), seeds=(1, 2))
    found = configurations(space, tmp_path, num_learners=1)
    assert {label: len(of_arm) for label, of_arm in found.items()} == {"ERAC": 1, "continued": 1, "preset": 1}
    assert all(len(configuration) == 16 for of_arm in found.values() for configuration in of_arm)


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ("erac.max_updates=7", {"ERAC", "continued"}),  # which the control is as long as
        ("critic.max_updates=7", {"ERAC", "continued"}),
        ("mle.learning_rate=0.5", {"ERAC", "continued", "MLE", "actor alone"}),
        ("network.dropout=0.1", {"ERAC", "continued", "MLE", "actor alone"}),
        ("decoding.beam_size=2", {"ERAC", "continued", "MLE", "actor alone"}),
        ("reward.match_unknown=true", {"ERAC", "continued"}),  # likelihood asks for no reward
        ("critic.seed=9", set()),
    ],
)
def test_other_settings_are_another_configuration(tmp_path: Path, settings: str, changed: set[str]) -> None:
    arms = (
        Arm("ERAC", "erac"),
        Arm("continued", "erac", {"control": True}, stage="continued_mle"),
        Arm("MLE", "mle"),
        Arm("actor alone", "erac", stage="mle"),
    )
    space = Space("x", "X", arms, seeds=(1,))
    before, after = (configurations(space, tmp_path, settings=given) for given in ((), (settings,)))
    assert {label for label in before if before[label] != after[label]} == changed


def test_staleness_is_another_configuration_where_the_policy_is_sampled(tmp_path: Path) -> None:
    space = Space("x", "X", (Arm("ERAC", "erac"), Arm("MLE", "mle")), seeds=(1,))
    before, after = (configurations(space, tmp_path, num_learners=1, max_staleness=n) for n in (0, 1))
    assert {label for label in before if before[label] != after[label]} == {"ERAC"}
