"""Manifests by their definitions, and by what they are there for."""

import copy
import itertools
import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer, get_nodes_for

from tests.deploy.manifests import MANIFESTS, defects, documents, pods

EVERY = [(path, resource) for path in MANIFESTS for resource in documents(path)]
NAMES = [f"{path} {resource['kind']} {resource['metadata']['name']}" for path, resource in EVERY]
(CLUSTER,) = documents(Path("kuberay/raycluster.yaml"))
(JOB,) = documents(Path("kuberay/rayjob.yaml"))


def changed(resource: dict[str, Any], *path: str | int, **values: object) -> dict[str, Any]:
    """A copy with keys set, below a path; None removes one."""
    made = part = copy.deepcopy(resource)
    for step in path:
        part = part[step]
    for key, value in values.items():
        part[key] = value
        if value is None:
            del part[key]
    return made


@pytest.mark.parametrize(("path", "resource"), EVERY, ids=NAMES)
def test_manifests_are_as_their_kinds_are_defined(path: Path, resource: dict[str, Any]) -> None:
    assert defects(resource) == []


GPU = ("spec", "workerGroupSpecs", 1)
CONTAINER = ("template", "spec", "containers", 0)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (changed(JOB, "spec", shutdownAfterJobFinish=True), "'shutdownAfterJobFinish' was unexpected"),
        (changed(JOB, "spec", submissionMode="K8SJobMode"), "'K8SJobMode' is not one of ['K8sJobMode', "),
        (changed(JOB, "spec", "rayClusterSpec", "authOptions", mode="tokens"), "'tokens' is not one of"),
        (changed(CLUSTER, "spec", enableInTreeAutoscaling="true"), "'true' is not of type 'boolean'"),
        (changed(CLUSTER, *GPU, groupName=None), "'groupName' is a required property"),
        (changed(CLUSTER, *GPU, maxReplica=4), "'maxReplica' was unexpected"),
        (changed(CLUSTER, *GPU, "rayStartParams", block=True), "True is not of type 'string'"),
        (changed(CLUSTER, *GPU, *CONTAINER, livenesProbe={}), "'livenesProbe' was unexpected"),
        (changed(CLUSTER, *GPU, *CONTAINER, "resources", "limits", memory="32GB"), "'32GB' does not match"),
        (changed(CLUSTER, apiVersion="ray.io/v1beta1"), "ray.io/v1beta1 RayCluster is no kind that is known"),
    ],
)
def test_what_is_misspelt_is_told(wrong: dict[str, Any], told: str) -> None:
    (defect,) = defects(wrong)
    assert told in defect


def test_the_job_is_submitted_in_a_mode_that_the_operator_knows() -> None:
    """Its own definition lets any text pass."""
    assert JOB["spec"]["submissionMode"] in ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
    assert JOB["spec"]["shutdownAfterJobFinishes"] is True


def test_job_and_cluster_are_of_the_same_pods() -> None:
    assert JOB["spec"]["rayClusterSpec"] == CLUSTER["spec"]


def test_a_token_is_asked_for() -> None:
    assert CLUSTER["spec"]["authOptions"] == {"mode": "token"}
    assert CLUSTER["spec"]["rayVersion"] >= "2.52.0"


def node_types() -> dict[str, dict[str, Any]]:
    """The pools as Ray's autoscaler reads the manifest, each with its resources."""
    return _derive_autoscaling_config_from_ray_cr(CLUSTER)["available_node_types"]


def test_ray_finds_places_cpus_and_gpus_in_the_pools() -> None:
    found = node_types()
    without_memory = {
        name: {key: value for key, value in pool["resources"].items() if key != "memory"}
        for name, pool in found.items()
    }
    assert without_memory == {
        "headgroup": {"CPU": 0},
        "cpu": {"CPU": 16, "reward": 16},
        "gpu": {"CPU": 8, "GPU": 1},
    }
    bounds = {name: (pool["min_workers"], pool["max_workers"]) for name, pool in found.items()}
    assert (bounds["cpu"], bounds["gpu"]) == ((0, 8), (0, 4))


def test_the_job_s_learners_and_workers_start_just_the_pods_that_they_need() -> None:
    """By the scheduler of Ray's autoscaler: 4 learners on GPUs, 32 reward workers on two CPU nodes."""
    entry = JOB["spec"]["entrypoint"].split()
    given = dict(itertools.pairwise(entry))
    learners = [{"CPU": 1, "GPU": 1}] * int(given["--num-learners"])
    workers = [{given["--worker-resource"]: 1}] * int(given["--num-reward-workers"])
    scorer = partial(_default_utilization_scorer, node_availability_summary=NodeAvailabilitySummary({}))
    started, left = get_nodes_for(node_types(), {"headgroup": 1}, "headgroup", 12, learners + workers, scorer)
    assert dict(started) == {"gpu": 4, "cpu": 2}
    assert left == []


@pytest.mark.parametrize(
    "resource", [r for _, r in EVERY if pods(r)], ids=lambda r: f"{r['kind']} {r['metadata']['name']}"
)
def test_no_pod_runs_as_root_or_without_bounds_and_probes(resource: dict[str, Any]) -> None:
    for pod in pods(resource):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            security = container["securityContext"]
            assert security == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
            assert not container["image"].endswith(":latest")
        for container in pod["containers"]:
            assert {"readinessProbe", "livenessProbe"} <= container.keys()


def test_all_of_ray_s_pods_share_the_volume_of_the_runs() -> None:
    claims = [r for r in documents(Path("kuberay/storage.yaml")) if r["kind"] == "PersistentVolumeClaim"]
    (claim,) = claims
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert len(pods(CLUSTER)) == 3
    for pod in pods(CLUSTER):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        shared = volumes[mounts["/shared"]]["persistentVolumeClaim"]
        assert shared["claimName"] == claim["metadata"]["name"]
        assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"


def test_secrets_are_referred_to_and_never_written() -> None:
    referred = Counter()
    for _, resource in EVERY:
        assert resource["kind"] != "Secret"
        for pod in pods(resource):
            for container in [*pod["containers"], *pod.get("initContainers", [])]:
                for variable in container.get("env", ()):
                    secret = any(word in variable["name"] for word in ("PASSWORD", "SECRET", "TOKEN"))
                    assert secret == ("valueFrom" in variable), variable
                    if secret:
                        referred[variable["valueFrom"]["secretKeyRef"]["key"]] += 1
    assert {
        "POSTGRES_PASSWORD",
        "OBJECTS_SECRET_KEY",
        "MLFLOW_AUTH_ADMIN_PASSWORD",
        "MLFLOW_FLASK_SERVER_SECRET_KEY",
    } == referred.keys()


def test_mlflow_answers_to_its_names_alone_and_its_storage_to_it_alone() -> None:
    resources = documents(Path("mlflow/kubernetes.yaml"))
    (server,) = [r for r in resources if r["kind"] == "Deployment"]
    env = {v["name"]: v.get("value") for v in pods(server)[0]["containers"][0]["env"]}
    allowed = env["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert "*" not in json.dumps(allowed)
    (address,) = [word for word in JOB["spec"]["entrypoint"].split() if word.startswith("http://")]
    assert address.removeprefix("http://") in allowed
    (policy,) = [r["spec"] for r in resources if r["kind"] == "NetworkPolicy"]
    (guarded,) = policy["podSelector"]["matchExpressions"]
    assert set(guarded["values"]) == {"postgres", "objects"}
    assert policy["ingress"] == [{"from": [{"podSelector": {"matchLabels": {"app": "mlflow"}}}]}]
