"""Container files, linted; and the compose file of the MLflow server."""

import configparser
import copy
import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.deploy.manifests import DEPLOY, ROOT, SCHEMAS, documents, pods

FILES = sorted(path.relative_to(DEPLOY) for path in DEPLOY.rglob("Dockerfile"))
HADOLINT = Path(sys.executable).with_name("hadolint")
SECRETS = {
    "POSTGRES_PASSWORD",
    "OBJECTS_SECRET_KEY",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
}


def linted(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HADOLINT, "--no-color", file], capture_output=True, text=True)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_container_files_pass_the_linter_and_do_not_run_as_root(file: Path) -> None:
    done = linted(DEPLOY / file)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    users = re.findall(r"^USER (\S+)$", (DEPLOY / file).read_text(), re.MULTILINE)
    assert users[-1] == "1000"


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("USER 1000", "USER root", "DL3002"),
        ("pip install", "sudo pip install", "DL3004"),
        ("FROM", "FORM", ""),
    ],
)
def test_the_linter_finds_what_is_wrong(tmp_path: Path, old: str, new: str, rule: str) -> None:
    wrong = tmp_path / "Dockerfile"
    wrong.write_text((DEPLOY / "Dockerfile").read_text().replace(old, new))
    done = linted(wrong)
    assert done.returncode == 1
    assert rule in done.stdout + done.stderr


def test_the_image_is_made_of_the_package_alone() -> None:
    """All that the wheel is built from comes into the build, nothing else does."""
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert lines[1] == "*"
    assert kept == {"raysq", "workflows", "tune_spaces", "pyproject.toml", "README.md", "LICENSE"}
    assert all((ROOT / name).exists() for name in kept)


def test_versions_of_ray_and_mlflow_are_those_that_are_tested() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    ray, mlflow = (re.search(rf'"{name}[^>"]*>=([\d.]+)', pyproject) for name in ("ray", "mlflow"))
    assert ray is not None
    assert mlflow is not None
    (of_image,) = re.findall(r"^ARG RAY_VERSION=(\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    (of_server,) = re.findall(
        r"^ARG MLFLOW_VERSION=(\S+)$", (DEPLOY / "mlflow" / "Dockerfile").read_text(), re.MULTILINE
    )
    assert of_image.startswith(ray[1])
    assert of_server.startswith(mlflow[1])
    (cluster,) = documents(Path("kuberay/raycluster.yaml"))
    assert cluster["spec"]["rayVersion"] == of_image


@pytest.fixture
def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "mlflow" / "compose.yaml").read_text())


def defects(compose: dict[str, Any]) -> list[str]:
    schema = {"$defs": SCHEMAS["$defs"], **SCHEMAS["compose"]}
    return [error.message for error in Draft202012Validator(schema).iter_errors(compose)]


def test_the_compose_file_is_as_compose_defines_it(compose: dict[str, Any]) -> None:
    assert defects(compose) == []
    services = compose["services"]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= services.keys()
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in compose["volumes"]


def test_a_misspelt_key_is_told(compose: dict[str, Any]) -> None:
    wrong = copy.deepcopy(compose)
    wrong["services"]["mlflow"]["enviroment"] = {}
    assert any("'enviroment' was unexpected" in defect for defect in defects(wrong))
    wrong = copy.deepcopy(compose)
    wrong["services"]["mlflow"]["depends_on"]["bucket"]["condition"] = "service_complete"
    assert any("'service_complete' is not one of" in defect for defect in defects(wrong))


def test_passwords_come_from_outside_and_have_no_default(compose: dict[str, Any]) -> None:
    text = (DEPLOY / "mlflow" / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+):\?", text)) == SECRETS
    assert set(re.findall(r"\$\{(\w+)", text)) == {*SECRETS, "MLFLOW_SERVER_ALLOWED_HOSTS"}
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET", name):
                assert re.fullmatch(r"\$\{\w+:\?.*\}", value), name
    assert ".env" in (DEPLOY / "mlflow" / ".gitignore").read_text().splitlines()


def test_the_server_asks_for_a_password_and_answers_to_its_names_alone(compose: dict[str, Any]) -> None:
    server = compose["services"]["mlflow"]
    hosts = re.search(r":-(.*)\}", server["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"])
    assert hosts is not None
    assert all(host.endswith(":5000") and "*" not in host for host in hosts[1].split(","))
    assert all(
        port.startswith("127.0.0.1:") for s in compose["services"].values() for port in s.get("ports", ())
    )
    command = re.search(r"CMD \[(.*)\]", (DEPLOY / "mlflow" / "Dockerfile").read_text(), re.DOTALL)
    assert command is not None
    words = re.findall(r'"([^"]*)"', command[1])
    given = dict(itertools.pairwise(words))
    assert given["--app-name"] == "basic-auth"
    assert given["--backend-store-uri"] == "postgresql+psycopg://mlflow@postgres/mlflow"
    assert given["--artifacts-destination"] == "s3://mlflow"


def test_accounts_are_in_the_database_and_the_file_has_no_password() -> None:
    config = configparser.ConfigParser()
    config.read(DEPLOY / "mlflow" / "basic_auth.ini")
    assert config["mlflow"]["database_uri"] == "postgresql+psycopg://mlflow@postgres/mlflow"
    assert "admin_password" not in config["mlflow"]


def test_compose_and_kubernetes_run_the_same_images(compose: dict[str, Any]) -> None:
    of_compose = {service["image"] for service in compose["services"].values()}
    resources = documents(Path("mlflow/kubernetes.yaml"))
    assert of_compose == {c["image"] for r in resources for pod in pods(r) for c in pod["containers"]}
