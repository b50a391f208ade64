"""All algorithms of Dai, Xie, Hovy 2018 with and without input feeding (Tables 1 and 2)."""

from raysq.sweep.space import Arm, Axis, Space

FEEDING = (Axis("input_feeding", (False, True), ("network.input_feeding",)),)

SPACE = Space(
    "input_feeding",
    "With and without input feeding",
    arms=(
        Arm("MLE", "mle", axes=FEEDING),
        Arm("RAML", "raml", axes=FEEDING),
        Arm("VAML", "vaml", axes=FEEDING),
        Arm("AC", "ac", axes=FEEDING),
        Arm("ERAC", "erac", axes=FEEDING),
        Arm("MIXER", "mixer", axes=FEEDING),
    ),
    baseline="MLE",
    table="dai2018-table2",
)
