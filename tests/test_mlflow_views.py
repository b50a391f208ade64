import json

from raysq.mlflow_views import SEEDS, VIEWS, runs_url, view_tags


def test_every_view_shows_the_headline_before_all_else():
    assert list(view_tags()) == [
        "mlflow.sharedViewState.raysq-best",
        "mlflow.sharedViewState.raysq-seeds",
        "mlflow.sharedViewState.raysq-stages",
    ]
    for view, value in zip(VIEWS, view_tags().values(), strict=True):
        assert len(value) < 5000  # what MLflow takes as a tag of an experiment
        saved = json.loads(value)
        assert saved["name"] == view.name
        state = json.loads(saved["state"])
        assert state["columnOrder"][:4] == [
            "attributes.`Run Name`",
            "metrics.`test_best/bleu`",
            "metrics.`test_best/rouge`",
            "metrics.`test_best/cider`",
        ]
        assert set(state["selectedColumns"]) < set(state["columnOrder"])
        assert view.state.items() <= state.items()


def test_views_are_listed_in_their_order():
    made = [json.loads(value)["createdAt"] for value in view_tags().values()]
    assert made == sorted(made, reverse=True)  # the interface lists the latest first


def test_address_of_the_table():
    query = "workflowType=machine_learning&viewStateShareKey="
    assert runs_url("http://host:5000/", "7") == f"http://host:5000/#/experiments/7/runs?{query}raysq-best"
    assert runs_url("http://host", "7", SEEDS) == f"http://host/#/experiments/7/runs?{query}raysq-seeds"
