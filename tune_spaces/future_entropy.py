"""Entropy of future steps in the critic's target, or in the policy's gradient alone (Dai et al., Table 4)."""

from raysq.sweep.space import Arm, Space

SPACE = Space(
    "future_entropy",
    "The critic with and without the entropy of future steps",
    arms=(
        Arm("ERAC", "erac"),
        Arm("ERAC without future entropy", "erac", {"preset": "without_future_entropy"}),
        Arm("AC", "ac"),
    ),
    seeds=tuple(range(1, 10)),
    baseline="AC",
    table="dai2018-table4",
)
