import json
from urllib.parse import parse_qs, urlsplit

from raysq.mlflow_views import SEEDS, VIEWS, comparison_text, comparison_url, runs_url, view_tags


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


def test_where_to_look():
    url = comparison_url("http://host:5000/", "7", ["ab", "cd"])
    parts = urlsplit(url)
    assert (parts.netloc, parts.path) == ("host:5000", "/")
    path, query = parts.fragment.split("?")
    assert path == "/compare-runs"
    assert parse_qs(query) == {"runs": ['["ab","cd"]'], "experiments": ['["7"]']}
    local = comparison_text("sqlite:////a b/mlflow.db", "7", ["ab"])
    assert local.splitlines()[0] == "mlflow ui --backend-store-uri 'sqlite:////a b/mlflow.db'"
    assert local.splitlines()[1].startswith("http://127.0.0.1:5000/#/experiments/7/runs?")
    assert local.splitlines()[2].startswith("http://127.0.0.1:5000/#/compare-runs?")
    served = comparison_text("https://me:secret@host", "7", ["ab"]).splitlines()
    assert [line.partition("?")[0] for line in served] == [
        "https://host/#/experiments/7/runs",
        "https://host/#/compare-runs",
    ]
