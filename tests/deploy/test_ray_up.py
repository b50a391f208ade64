"""The launcher's file, by Ray's own schema and checks."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.deploy.manifests import DEPLOY

SCHEMA = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "ray-up" / "cluster.yaml").read_text())


def test_the_file_is_as_ray_defines_it(cluster: dict[str, Any]) -> None:
    assert [error.message for error in Draft7Validator(SCHEMA).iter_errors(cluster)] == []
    validate_config(prepare_config(copy.deepcopy(cluster)))


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ((), "idle_timeout_minute"),
        (("docker",), "container"),
        (("available_node_types", "gpu"), "max_worker"),
    ],
)
def test_a_misspelt_key_is_told(cluster: dict[str, Any], path: tuple[str, ...], key: str) -> None:
    part = cluster
    for step in path:
        part = part[step]
    part[key] = 1
    with pytest.raises(ValidationError, match=f"'{key}' was unexpected"):
        validate_config(prepare_config(cluster))


def test_a_head_of_no_type_is_told(cluster: dict[str, Any]) -> None:
    cluster["head_node_type"] = "haed"
    with pytest.raises(ValueError, match="`head_node_type` must be one of `available_node_types`"):
        validate_config(prepare_config(cluster))


def test_pools_are_those_of_kubernetes(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["cpu"]["resources"] == {"CPU": 16, "reward": 16}
    assert types["gpu"]["resources"] == {"CPU": 8, "GPU": 1}
    assert types["gpu"]["docker"]["worker_image"].endswith(":gpu")
    assert cluster["max_workers"] == types["cpu"]["max_workers"] + types["gpu"]["max_workers"]


def test_every_node_asks_for_the_token_and_the_dashboard_stays_on_the_head(cluster: dict[str, Any]) -> None:
    assert "--env RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    (start,) = [line for line in cluster["head_start_ray_commands"] if "ray start" in line]
    assert "--dashboard-host=127.0.0.1" in start
    assert not re.search(r"(PASSWORD|SECRET|TOKEN)=", (DEPLOY / "ray-up" / "cluster.yaml").read_text())
