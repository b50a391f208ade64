"""Variance penalty and target network of the critic, in both of its stages (Dai, Xie, Hovy 2018, Table 3)."""

from raysq.sweep.space import Arm, Axis, Space

SPACE = Space(
    "lambda_var",
    "Weight of the variance penalty and rate of the target critic",
    arms=(
        Arm(
            "ERAC",
            "erac",
            axes=(
                Axis("lambda_var", (0.0, 0.001), keys=("critic.lambda_var", "erac.lambda_var")),
                Axis("target_rate", (0.001, 0.01, 0.1, 1.0), keys=("critic.target_rate", "erac.target_rate")),
            ),
        ),
    ),
    table="dai2018-table3",
)
