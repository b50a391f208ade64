"""Learning rate and MLE weight of ERAC's joint stage: a search space, for --num-samples and --scheduler."""

from raysq.sweep.space import Arm, Axis, Range, Space

SPACE = Space(
    "search",
    "Learning rate and MLE weight of the joint stage",
    arms=(
        Arm(
            "ERAC",
            "erac",
            axes=(
                Axis("learning_rate", Range(1e-5, 1e-3, log=True), ("erac.learning_rate",)),
                Axis("lambda_mle", Range(0.0, 0.5), ("erac.lambda_mle",)),
            ),
        ),
    ),
    seeds=(1,),
)
