"""A policy behind MLflow's scoring protocol: the code of the models that raysq.mlflow_model writes.

MLflow copies this file into a model and runs it to load the model ("models from code"); nobody else imports
it. The policy lies beside it as JSON and safetensors, so nothing is unpickled.
"""

from __future__ import annotations

from typing import Any

import mlflow.models
from mlflow.pyfunc import PythonModel, PythonModelContext

from raysq.exported import ExportedPolicy, load_policy


class ServedPolicy(PythonModel):
    """Lines of text in, translations (of articles: headlines) out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the policy that the model holds. Raises UserError where it is damaged."""
        self.policy: ExportedPolicy = load_policy(context.artifacts["policy"])

    def predict(self, model_input: list[str], params: dict[str, Any] | None = None) -> list[str]:
        """The best translation of each line."""
        return self.policy.translate(model_input)


mlflow.models.set_model(ServedPolicy())
