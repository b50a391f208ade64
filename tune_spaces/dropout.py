"""The comparison of Tan et al. 2019 at dropout 0.2 (Table 1) and 0.3 (Table 3)."""

from raysq.sweep.space import Arm, Axis, Space

DROPOUT = (Axis("dropout", (0.2, 0.3), ("network.dropout",)),)

SPACE = Space(
    "dropout",
    "Dropout",
    arms=(
        Arm("MLE", "mle", axes=DROPOUT),
        Arm("RAML", "raml", axes=DROPOUT),
        Arm("SPG", "spg", axes=DROPOUT),
        Arm("MIXER", "mixer", axes=DROPOUT),
        Arm("scheduled sampling", "scheduled_sampling", axes=DROPOUT),
        Arm("interpolation", "interpolation", axes=DROPOUT),
    ),
    baseline="MLE",
    table="erpo-table3",
)
