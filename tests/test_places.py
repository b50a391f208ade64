import re
from pathlib import Path

import pytest

from raysq.config import UserError, WorkflowConfig
from raysq.places import Places, default_place, lasting


@pytest.fixture
def in_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder, with the command in the copy that Ray makes of a job's working directory."""
    copy = tmp_path / "session_1" / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_defaults_lie_below_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    places = Places.of("erac-demo-seed3", WorkflowConfig())
    assert places.output == tmp_path / "runs" / "erac-demo-seed3"
    assert places.store == tmp_path / "runs" / "stages"
    assert places.tracking_uri == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert places.data is None
    assert default_place(Path("data/demo")) == Path("data/demo")


def test_store_and_metrics_lie_beside_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    places = Places.of("erac", WorkflowConfig(output_dir=Path("a/b"), data_dir=Path("data")))
    assert places.output == tmp_path / "a" / "b"
    assert places.store == tmp_path / "a" / "stages"
    assert places.tracking_uri == f"sqlite:///{tmp_path}/a/mlflow.db"
    assert places.data == tmp_path / "data"


def test_what_is_named_is_taken(tmp_path: Path) -> None:
    uri = "http://127.0.0.1:5000"
    config = WorkflowConfig(output_dir=tmp_path / "a", store_dir=tmp_path / "s", tracking_uri=uri)
    assert Places.of("erac", config) == Places(tmp_path / "a", tmp_path / "s", uri, None)


def test_in_a_job_the_defaults_lie_below_the_home_folder(in_job: Path) -> None:
    places = Places.of("erac-demo-seed1", WorkflowConfig())
    assert places.output == in_job / "raysq" / "runs" / "erac-demo-seed1"
    assert places.store == in_job / "raysq" / "runs" / "stages"
    assert places.tracking_uri == f"sqlite:///{in_job}/raysq/runs/mlflow.db"
    assert lasting("", default_place(Path("data/demo"))) == in_job / "raysq" / "data" / "demo"


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("output_dir", "runs/a", "--output-dir runs/a"),
        ("store_dir", "../stages", "--store-dir ../stages"),
        ("data_dir", "data/mine", "--data-dir data/mine"),
        ("tracking_uri", "sqlite:///mlflow.db", "--tracking-uri mlflow.db"),
    ],
)
def test_in_a_job_a_place_that_ray_deletes_is_refused(
    in_job: Path, setting: str, value: str, said: str
) -> None:
    config = WorkflowConfig.model_validate({setting: value})
    with pytest.raises(UserError, match=f"^{re.escape(said)}: in a job .* deleted .* give an absolute path"):
        Places.of("erac", config)


def test_in_a_job_places_that_last_are_taken(in_job: Path, tmp_path: Path) -> None:
    config = WorkflowConfig(output_dir=tmp_path / "a", tracking_uri="http://127.0.0.1:5000")
    assert Places.of("erac", config).output == tmp_path / "a"
    assert Places.of("erac", WorkflowConfig(output_dir=Path("~/a"))).output == in_job / "a"
