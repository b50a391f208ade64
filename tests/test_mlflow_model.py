"""The model of MLflow, as MLflow itself loads it in this process; over HTTP: tests/integration."""

import json
from pathlib import Path
from typing import Any

import pytest

from raysq.config import UserError
from raysq.data.shards import Corpus
from raysq.exported import PARAMETERS, POLICY, load_policy, write_policy
from raysq.finished import DecodeSettings, FinishedStage
from raysq.mlflow_model import CODE, check_served, write_mlflow_model
from tests.test_exported import LINES, finished_stage


@pytest.fixture(scope="module")
def model(small_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of a policy and of MLflow's model of it."""
    place = tmp_path_factory.mktemp("model")
    stage = FinishedStage.open(finished_stage(small_corpus, place / "stage"))
    (place / "policy").mkdir()
    write_policy(place / "policy", stage, DecodeSettings(run=stage.folder), detokenise=False)
    write_mlflow_model(place / "mlflow", place / "policy", load_policy(place / "policy"))
    return place / "policy", place / "mlflow"


def test_mlflow_loads_it_from_code_and_it_translates(model: Any) -> None:
    from mlflow import pyfunc

    policy, folder = model
    loaded = pyfunc.load_model(str(folder))
    found = loaded.predict(LINES)
    assert found == load_policy(policy).translate(LINES)
    assert len(set(found)) > 2


def test_it_says_what_goes_in_and_what_comes_out(model: Any) -> None:
    from mlflow.models import Model

    _, folder = model
    told = Model.load(str(folder))
    assert told.signature.inputs.to_dict() == told.signature.outputs.to_dict()
    assert told.signature.inputs.input_types()[0].name == "string"
    assert told.metadata == {"stage": "mle", "identity": "0123456789abcdef"}
    (line,) = told.load_input_example(str(folder))
    assert set(line.split()) <= set("abcdefgh")
    assert len(line.split()) == 5


def test_it_holds_code_and_data_but_no_pickle_and_no_path(model: Any) -> None:
    policy, folder = model
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert {f"artifacts/policy/{POLICY}", f"artifacts/policy/{PARAMETERS}", CODE.name} <= files.keys()
    assert {path.suffix for path in files.values()} <= {".py", ".json", ".safetensors", ".yaml", ".txt", ""}
    assert files[CODE.name].read_bytes() == CODE.read_bytes()
    for name in (POLICY, PARAMETERS):
        assert files[f"artifacts/policy/{name}"].read_bytes() == (policy / name).read_bytes()
    for name, path in files.items():
        content = path.read_bytes()
        assert not content.startswith(b"\x80"), name  # as pickles do
        assert str(policy.parent).encode() not in content, name
    assert "raysq==" in files["requirements.txt"].read_text()
    assert json.loads(files["input_example.json"].read_text())


def test_images_are_refused() -> None:
    check_served(False)
    with pytest.raises(UserError, match="--format mlflow: the policy reads features of images"):
        check_served(True)
