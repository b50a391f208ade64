"""What is drawn is what is recorded: the dashboard, the page that explains it, and the instruments."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

from raysq.cluster.instruments import INSTRUMENTS, LABELS

FOLDER = Path(__file__).parents[2] / "deploy" / "watch"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
VARIABLES = [variable["query"] for variable in DASHBOARD["templating"]["list"]]
SERIES = re.compile(r"\bray_raysq_\w+")


def exported() -> set[str]:
    """Every series that Prometheus has."""
    of_histograms = {
        f"{i.exported}_{what}"
        for i in INSTRUMENTS
        if i.kind == "histogram"
        for what in ("bucket", "sum", "count")
    }
    return of_histograms | {i.exported for i in INSTRUMENTS if i.kind != "histogram"}


def test_every_series_that_is_drawn_is_recorded() -> None:
    drawn = set(SERIES.findall(" ".join([*QUERIES, *VARIABLES])))
    assert len(drawn) >= len(INSTRUMENTS)
    assert drawn - exported() == set()


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda i: i.name)
def test_every_instrument_is_drawn_and_explained(instrument: Any) -> None:
    assert any(re.search(rf"\b{instrument.exported}(_bucket|_sum)?\b", query) for query in QUERIES)
    unit = re.search(r"\[(\w+)\]", instrument.description)
    assert unit is not None
    row = rf"^\| `{instrument.exported}` \| {instrument.kind} \| {unit[1]} \| \w"
    assert re.search(row, (FOLDER / "README.md").read_text(), re.MULTILINE)


def test_only_labels_that_series_have_are_asked_for() -> None:
    asked = " ".join([*QUERIES, *VARIABLES])
    names = set(re.findall(r"(\w+)=~", asked)) | set(re.findall(r"by \((\w+)\)", asked))
    names |= set(re.findall(r"label_values\(\w+, (\w+)\)", asked))
    assert names - {"le"} == set(LABELS)


def test_quantiles_are_of_buckets_and_rates_of_what_grows() -> None:
    """A rate of a gauge, or a counter drawn as it is, would be nonsense that looks like a curve."""
    grow = {name for name in exported() if name.endswith(("_total", "_bucket", "_sum", "_count"))}
    for query in QUERIES:
        rated = set(re.findall(r"rate\((ray_raysq_\w+)", query))
        assert rated <= grow
        assert set(SERIES.findall(query)) - rated <= exported() - grow
        if "histogram_quantile" in query:
            assert all(name.endswith("_bucket") for name in rated)


def test_every_panel_has_a_unit_and_its_own_place() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    for panel in DASHBOARD["panels"]:
        assert re.search(r" \[[\w/ ]+\]$", panel["title"])
        assert panel["fieldConfig"]["defaults"]["unit"] in ("s", "short", "percentunit")
        assert panel["description"]


def test_prometheus_reads_the_list_that_ray_writes() -> None:
    settings = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (job,) = settings["scrape_configs"]
    (lists,) = job["file_sd_configs"]
    assert lists["files"] == [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]
