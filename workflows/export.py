"""Export a finished run's policy: a folder that can leave, for raysq, for torch, for ONNX and for MLflow.

    python workflows/export.py --run runs/erac-demo-seed1 --output-dir exported
    python workflows/export.py --run runs/erac-demo-seed1 --output-dir served --format torch-export,mlflow
    mlflow models serve --model-uri served/mlflow --env-manager local --port 5001

It writes policy.safetensors and policy.json (raysq.exported loads them) and the model card, README.md, which
shows how each format is used; with --format besides

    torch-export    encoder.pt2 and step.pt2, read by torch.export.load
    onnx            encoder.onnx and step.onnx, which need no torch
    mlflow          mlflow/, a model that mlflow models serve serves: lines of text in, lines out

Encoder and step take any number of sources of any length. Decoding is as the run decoded, but for what
--beam-size and the like say; that is written into policy.json.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Literal

from raysq.card import CARD, model_card
from raysq.commandline import run_command
from raysq.config import UserError
from raysq.exported import PARAMETERS, POLICY, ExportedPolicy, load_policy, write_policy
from raysq.files import write_lines
from raysq.finished import DecodeSettings, FinishedStage
from raysq.mlflow_model import check_served, write_mlflow_model
from raysq.places import lasting
from raysq.programs import ONNX_USE, TORCH_USE, require_onnx, use, write_onnx, write_torch
from raysq.terminal import terminal
from raysq.training.state import read_result
from raysq.workplace import occupied, publish, workplace

Format = Literal["torch-export", "onnx", "mlflow"]
MLFLOW = "mlflow"
"""Folder of MLflow's model."""
POLICY_USE = """\
from raysq.exported import load_policy

print(load_policy(".").translate([input()])[0])  # a line of text
"""
CAPTION_USE = """\
import numpy as np
from raysq.exported import load_policy

features = np.array([input().split()], np.float32)  # of an image
print(load_policy(".").caption(features)[0])
"""
MLFLOW_USE = """\
mlflow models serve --model-uri mlflow --env-manager local --port 5001
curl http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' -d '{"inputs": ["a line of text"]}'
"""


class ExportSettings(DecodeSettings):
    """Which finished run is exported, as what, and where to."""

    output_dir: Path
    """Folder to write; it must not be there yet, or be empty."""
    format: tuple[Format, ...] = ()
    """What is written besides policy.safetensors, policy.json and README.md: torch-export, onnx (needs the
    packages of raysq[onnx]), mlflow."""
    detokenise: bool = False
    """Whether load_policy and MLflow's model answer text, not words with spaces between them."""
    device: Literal["cpu"] = "cpu"
    """Where the export is made; whoever loads it puts it where it is to work."""


def main(settings: ExportSettings) -> None:
    """Write the export whole, or nothing.

    Raises:
        UserError: there is something in the folder, a format is not to be had, or as `FinishedStage.open`.
    """
    console = terminal()
    folder = lasting("--output-dir", settings.output_dir)
    if occupied(folder):
        raise UserError(f"--output-dir {folder} is not empty: give another folder, or remove it")
    stage = FinishedStage.open(settings.run, settings.stage)
    of_images = stage.preparation.manifest.features is not None
    if "onnx" in settings.format:
        require_onnx()
    if "mlflow" in settings.format:
        check_served(of_images)
    with workplace(folder, f"the export to {folder}", resumable=False) as hidden:
        policy = write(hidden / "data", stage, settings)
        publish(hidden, folder)
    console.print(f"stage {stage.name} in {stage.folder}: policy {policy.record.digest[:12]}")
    for name in sorted(path.name for path in folder.iterdir()):
        console.print(f"  {folder / name}")
    console.print(f"how to use it: {folder / CARD}")


def write(folder: Path, stage: FinishedStage, settings: ExportSettings) -> ExportedPolicy:
    """Write everything into a folder of this command's own."""
    write_policy(folder, stage, settings, detokenise=settings.detokenise)
    policy = load_policy(folder)
    if "torch-export" in settings.format:
        write_torch(policy.network, folder)
    if "onnx" in settings.format:
        write_onnx(policy.network, folder)
    if "mlflow" in settings.format:
        alone = folder.with_name("policy")
        alone.mkdir(exist_ok=True)
        for name in (PARAMETERS, POLICY):
            shutil.copy(folder / name, alone / name)
        write_mlflow_model(folder / MLFLOW, alone, policy)
    write_lines(folder / CARD, readme(stage, policy, settings.format).splitlines())
    return policy


def readme(stage: FinishedStage, policy: ExportedPolicy, formats: tuple[Format, ...]) -> str:
    """The model card, and how each format is used."""
    of_images = policy.preparation.manifest.features is not None
    num_parameters = sum(parameter.numel() for parameter in policy.network.parameters())
    result = read_result(stage.folder)
    card = model_card(stage.record(), policy.preparation.manifest, result, num_parameters)
    uses = [
        ("python", "With raysq", CAPTION_USE if of_images else POLICY_USE),
        *(
            [("python", "With torch alone", use(TORCH_USE, of_images=of_images))]
            * ("torch-export" in formats)
        ),
        *([("python", "With onnxruntime alone", use(ONNX_USE, of_images=of_images))] * ("onnx" in formats)),
        *([("sh", "Behind MLflow", MLFLOW_USE)] * ("mlflow" in formats)),
    ]
    parts = [card.rstrip(), "## Use", f"Policy `{policy.record.digest}`, in this folder:"]
    for language, title, program in uses:
        parts += [f"### {title}", f"```{language}\n{program.rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(run_command(ExportSettings, main, description=__doc__))
