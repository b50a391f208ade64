"""Entropy temperature of ERAC: Figure 1 of Dai, Xie, Hovy 2018."""

from raysq.sweep.space import Arm, Axis, Space

TAU = Axis("tau", (0.0, 0.01, 0.025, 0.045, 0.1), keys=("critic.tau", "erac.tau"))

SPACE = Space(
    "tau",
    "Entropy temperature of ERAC (Dai, Xie, Hovy 2018, Figure 1)",
    arms=(Arm("ERAC", "erac", axes=(TAU,)),),
    seeds=(1, 2, 3),
    table="dai2018-figure1",
)
