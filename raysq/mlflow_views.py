"""Saved views of an experiment's table of runs in MLflow's interface: the headline metric first.

The interface (3.17) shows no metric in that table until each user has chosen columns. It sorts the columns of
metrics by name, cuts run names at 190 pixels, and opens an experiment on its pages for language model
applications. What comes first is said by a view: a tag of the experiment, as "Save & share view" writes it,
which is found in the list "Views" and by its address.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from raysq.tracking import without_credentials

HEADLINE = "test_best/bleu"
"""The metric that comes first: runs of workflows, trials and stages have it under this one name."""
_METRICS = (
    HEADLINE,
    "test_best/rouge",  # of headlines
    "test_best/cider",  # of captions
    "test_best/sample_bleu",
    "dev_best/bleu",
    "test_best/perplexity",
    "test_best/length_ratio",
)
_TAGS = ("raysq.task", "raysq.seed", "raysq.state")
_COLUMNS = [*(f"metrics.`{name}`" for name in _METRICS), *(f"tags.`{name}`" for name in _TAGS)]
_RUN_NAME = "attributes.`Run Name`"
_TABLE = {
    "selectedColumns": _COLUMNS,
    "columnOrder": [_RUN_NAME, *_COLUMNS, "runDateAndNestInfo", "duration"],
    "columnWidths": {_RUN_NAME: 360, **dict.fromkeys(_COLUMNS[: len(_METRICS)], 160)},  # pixels
}
_WITHOUT_STAGES = "tags.`raysq.level` != 'stage'"


@dataclass(frozen=True, slots=True)
class View:
    """A way to look at an experiment's runs."""

    key: str
    """In its address."""
    name: str
    """In the list of views."""
    state: dict[str, object] = field(default_factory=dict)
    """What differs from the interface's own state, besides the columns."""


BEST = View(
    "raysq-best",
    "Best test BLEU first",
    {
        "searchFilter": _WITHOUT_STAGES,
        "orderByKey": f"metrics.`{HEADLINE}`",
        "orderByAsc": False,
        "chartsSearchFilter": "^(test_best|dev)/(bleu|rouge|cider)$",
    },
)
SEEDS = View(
    "raysq-seeds",
    "Means over seeds",
    {
        "searchFilter": _WITHOUT_STAGES,
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": "raysq.group"}],
        },
    },
)
STAGES = View("raysq-stages", "Newest first, stages inside")
VIEWS = (BEST, SEEDS, STAGES)


def view_tags() -> dict[str, str]:
    """The views as tags of their experiment, the same every time."""
    return {
        f"mlflow.sharedViewState.{view.key}": json.dumps(
            # the list shows the latest first
            {"name": view.name, "createdAt": -place, "state": json.dumps({**_TABLE, **view.state})}
        )
        for place, view in enumerate(VIEWS)
    }


def runs_url(base: str, experiment_id: str, view: View = BEST) -> str:
    """The table of runs, as a view shows it, in MLflow's interface at ``base``."""
    query = f"workflowType=machine_learning&viewStateShareKey={view.key}"
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def comparison_url(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """The page of MLflow's UI at ``base`` that compares runs."""
    runs, experiments = (
        quote(json.dumps(ids, separators=(",", ":")), safe="") for ids in (list(run_ids), [experiment_id])
    )
    return f"{base.rstrip('/')}/#/compare-runs?runs={runs}&experiments={experiments}"


def comparison_text(uri: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """How to look at runs: the command that serves a local store, the table of all runs, these compared."""
    local = uri.startswith("sqlite:")
    command = [f"mlflow ui --backend-store-uri {shlex.quote(uri)}"] if local else []
    base = "http://127.0.0.1:5000" if local else without_credentials(uri)
    pages = [runs_url(base, experiment_id), comparison_url(base, experiment_id, run_ids)]
    return "\n".join(command + pages)
