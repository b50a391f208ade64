from pathlib import Path

import pytest

from raysq.algorithms import Algorithm, Mle, Reinforce
from raysq.config import DecodingConfig, UserError
from raysq.training import memory
from raysq.training.spec import StageSpec


class WholeBatch(Mle):
    """Needs its batch in one piece."""

    @property
    def whole_batch(self) -> bool:
        return True


def spec(name: str, algorithm: Algorithm) -> StageSpec:
    return StageSpec(name, algorithm, Path("nowhere"), seed=1)


@pytest.mark.parametrize(
    ("stage", "remedy"),
    [
        (
            spec("mle", Mle(batch_size=64)),
            r"raise --gradient-accumulation \(2\), or lower --mle.batch-size \(64\)",
        ),
        (
            spec("re_inforce", Reinforce(batch_size=50, num_samples=5)),
            r"raise --gradient-accumulation \(2\), or lower --re-inforce.batch-size \(50\) or "
            r"--re-inforce.num-samples \(5\)",
        ),
        (spec("mle", WholeBatch(batch_size=64)), r"lower --mle.batch-size \(64\)"),
    ],
)
def test_training_names_what_the_stage_has(stage: StageSpec, remedy: str) -> None:
    when = rf"^out of memory in training stage {stage.name} \(MemoryError\): "
    pattern = f"{when}{remedy}; the last checkpoint stands$"
    with pytest.raises(UserError, match=pattern), memory.training(stage, 2):
        raise MemoryError


@pytest.mark.parametrize(
    ("beam_size", "remedy"), [(1, r"\(100\)"), (5, r"\(100\) or --decoding.beam-size \(5\)")]
)
def test_evaluation_names_the_decoding(beam_size: int, remedy: str) -> None:
    pattern = rf"evaluating stage mle \(MemoryError\): lower --decoding.batch-size {remedy}; the last"
    with (
        pytest.raises(UserError, match=pattern),
        memory.evaluation(spec("mle", Mle()), DecodingConfig(beam_size=beam_size)),
    ):
        raise MemoryError


def test_the_inner_remedy_is_the_one_that_is_told() -> None:
    with (
        pytest.raises(UserError, match="in training stage mle"),
        memory.preparation(),
        memory.training(spec("mle", Mle()), 1),
    ):
        raise MemoryError
