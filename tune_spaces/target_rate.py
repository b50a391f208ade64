"""Rate at which the target critic follows the critic; 1 is no target network."""

from raysq.sweep.space import Arm, Axis, Space

KEYS = ("critic.target_rate", "erac.target_rate")

SPACE = Space(
    "target_rate",
    "Rate of the target critic",
    arms=(Arm("ERAC", "erac", axes=(Axis("target_rate", (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0), KEYS),)),),
)
