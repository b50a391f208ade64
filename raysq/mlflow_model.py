"""A policy as a model of MLflow, which ``mlflow models serve`` serves: from code, without pickle."""

from __future__ import annotations

import logging
from pathlib import Path

import raysq
from raysq.config import UserError
from raysq.exported import ExportedPolicy
from raysq.tracking import set_environment

CODE = Path(__file__).with_name("served.py")
"""What MLflow runs to load such a model."""
EXAMPLE_WORDS = 5
"""Of the model's example of its input."""


def check_served(policy_of_images: bool) -> None:
    """Raises UserError where a policy reads no text: MLflow's protocol would have to carry its features."""
    if policy_of_images:
        raise UserError(
            "--format mlflow: the policy reads features of images, and the model takes lines of text: leave "
            "mlflow out"
        )


def write_mlflow_model(folder: Path, policy: Path, loaded: ExportedPolicy) -> None:
    """Write a model of MLflow that holds an exported policy of text.

    Args:
        folder: of the model; there is none yet.
        policy: folder of the policy alone, which is copied.
        loaded: the same policy.
    """
    set_environment()
    from mlflow import pyfunc
    from mlflow.models import Model
    from mlflow.models.model import MLMODEL_FILE_NAME

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    words = loaded.preparation.source_vocabulary
    assert words is not None
    frequent = [word for word in words.words if not word.startswith("<")][:EXAMPLE_WORDS]
    pyfunc.save_model(
        folder,
        python_model=CODE,
        artifacts={"policy": str(policy)},
        input_example=[" ".join(frequent)],
        pip_requirements=[f"raysq=={raysq.__version__}"],
        metadata={"stage": loaded.record.stage, "identity": loaded.record.identity},
    )
    # where the policy lay before is nobody's business
    model = Model.load(str(folder))
    model.flavors[pyfunc.FLAVOR_NAME]["artifacts"]["policy"]["uri"] = "policy"
    model.save(str(folder / MLMODEL_FILE_NAME))
