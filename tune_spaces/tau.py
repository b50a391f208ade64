"""Entropy temperature of ERAC, with both forms of the entropy's gradient (Dai, Xie, Hovy 2018, Figure 1)."""

from raysq.sweep.space import Arm, Axis, Space

TAU = Axis("tau", (0.0, 0.01, 0.025, 0.045, 0.1), keys=("critic.tau", "erac.tau"))

SPACE = Space(
    "tau",
    "Entropy temperature of ERAC",
    arms=(
        Arm("ERAC", "erac", {"erac.entropy_gradient": "normalised"}, (TAU,)),
        Arm("ERAC with exact entropy gradient", "erac", {"erac.entropy_gradient": "exact"}, (TAU,)),
    ),
    table="dai2018-figure1",
)
