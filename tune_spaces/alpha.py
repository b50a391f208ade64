"""alpha of alpha-DiMT, from likelihood (0) towards reinforcement (1) (Koyamada et al. 2017, Table 1)."""

from raysq.sweep.space import Arm, Axis, Space

SPACE = Space(
    "alpha",
    "alpha of alpha-DiMT",
    arms=(
        Arm("MLE", "mle"),
        Arm("alpha-DiMT", "alpha_dimt", axes=(Axis("alpha", (0.0, 0.3, 0.5, 0.7), ("alpha_dimt.alpha",)),)),
    ),
    baseline="MLE",
    table="alpha-dimt-table1",
)
