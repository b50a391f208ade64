"""Temperature of RAML's payoff distribution (Norouzi et al. 2016; Ma et al. 2017)."""

from raysq.sweep.space import Arm, Axis, Space

SPACE = Space(
    "raml_temperature",
    "Temperature of RAML",
    arms=(
        Arm("RAML", "raml", axes=(Axis("temperature", (0.2, 0.4, 0.6, 0.8, 1.0), ("raml.temperature",)),)),
    ),
)
