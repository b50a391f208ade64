"""Reads what deploy/ holds, and says what is wrong with it by the schemas beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SCHEMAS = yaml.safe_load((Path(__file__).parent / "schemas.yaml").read_text())
MANIFESTS = sorted(
    path.relative_to(DEPLOY)
    for folder in ("kuberay", "mlflow")
    for path in (DEPLOY / folder).glob("*.yaml")
    if path.name != "compose.yaml"
)
"""Files of Kubernetes' resources."""


def documents(path: Path) -> list[dict[str, Any]]:
    """The resources of a file below deploy/."""
    return list(yaml.safe_load_all((DEPLOY / path).read_text()))


def defects(resource: dict[str, Any]) -> list[str]:
    """Where a resource is not as its kind is defined, and how."""
    kind = f"{resource.get('apiVersion')} {resource.get('kind')}"
    if kind not in SCHEMAS["kinds"]:
        return [f"{kind} is no kind that is known here"]
    schema = {
        "$defs": SCHEMAS["$defs"],
        "type": "object",
        "required": ["apiVersion", "kind", "metadata"],
        "additionalProperties": False,
        "properties": {
            "apiVersion": {},
            "kind": {},
            "metadata": {"$ref": "#/$defs/metadata"},
            "spec": SCHEMAS["kinds"][kind],
        },
    }
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in Draft202012Validator(schema).iter_errors(resource)
    ]


def pods(resource: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod specifications in a resource."""
    found, todo = [], [resource]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            if "containers" in part:
                found.append(part)
            todo.extend(part.values())
        elif isinstance(part, list):
            todo.extend(part)
    return found
