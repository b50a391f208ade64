"""Which settings a stage lives on less memory with."""

from __future__ import annotations

from contextlib import AbstractContextManager

from raysq.config import DecodingConfig
from raysq.memory import lack_of_memory_told
from raysq.training.spec import StageSpec

STANDS = "the last checkpoint stands"


def training(spec: StageSpec, gradient_accumulation: int) -> AbstractContextManager[None]:
    """Raises UserError where there is no memory for the updates of a stage."""
    algorithm, option = spec.algorithm, f"--{spec.name.replace('_', '-')}"
    lower = [f"{option}.batch-size ({algorithm.batch_size})"]
    samples = getattr(algorithm, "num_samples", 1)
    if samples > 1:
        lower.append(f"{option}.num-samples ({samples})")
    remedy = f"lower {' or '.join(lower)}"
    if not algorithm.whole_batch:
        remedy = f"raise --gradient-accumulation ({gradient_accumulation}), or {remedy}"
    return lack_of_memory_told(f"in training stage {spec.name}", f"{remedy}; {STANDS}")


def evaluation(spec: StageSpec, decoding: DecodingConfig) -> AbstractContextManager[None]:
    """Raises UserError where there is no memory for the evaluations of a stage."""
    lower = f"--decoding.batch-size ({decoding.batch_size})"
    if decoding.beam_size > 1:
        lower += f" or --decoding.beam-size ({decoding.beam_size})"
    return lack_of_memory_told(f"in evaluating stage {spec.name}", f"lower {lower}; {STANDS}")


def preparation() -> AbstractContextManager[None]:
    """Raises UserError where there is no memory for a learner's networks and data."""
    remedy = "lower --network.hidden-size and --network.embedding-size, or --num-learners where they share it"
    return lack_of_memory_told("in preparing to train", remedy)
