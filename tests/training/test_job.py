import pytest

from raysq.recipe import TrainingConfig
from raysq.training.job import places_of, workers_of
from workflows import erac, mle, raml


@pytest.mark.parametrize(
    ("recipe", "changes", "places"),
    [
        (erac, {}, 5),
        (erac, {"sampling": "remote"}, 8),
        (raml, {}, 8),  # proposals are drawn by sample workers
        (mle, {}, 5),  # one stands by in every workflow
        (erac, {"worker_resource": None}, 0),
    ],
)
def test_the_workers_that_stages_need_take_a_place_each(recipe, changes, places) -> None:
    settings = {"num_reward_workers": 5, "num_sample_workers": 3, "worker_resource": "node"} | changes
    config = recipe.RECIPE.config_class()(**settings)
    algorithms = [stage.algorithm for stage in recipe.RECIPE.stages_of(config)]
    assert places_of(config, algorithms) == places
    workers = workers_of(config)
    assert (workers.reward, workers.sample, workers.resource) == (5, 3, settings["worker_resource"])


@pytest.mark.parametrize("name", ["", "CPU", "GPU", "memory", "object_store_memory"])
def test_what_ray_counts_itself_is_no_custom_resource(name: str) -> None:
    with pytest.raises(ValueError, match="must be the name of a custom resource"):
        TrainingConfig(worker_resource=name)


def test_without_ray_there_is_no_resource() -> None:
    with pytest.raises(ValueError, match="`num_learners` must be above 0 with `worker_resource`"):
        TrainingConfig(worker_resource="node", num_learners=0)
