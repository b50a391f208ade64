"""Every algorithm beside every other (Tan et al. 2019, Tables 1 and 2), continued MLE as control."""

from raysq.sweep.space import Arm, Space

SPACE = Space(
    "comparison",
    "Every algorithm, and its MLE actor continued as control",
    arms=(
        Arm("MLE", "mle"),
        Arm("continued MLE", "erac", {"control": True}, stage="continued_mle"),
        Arm("ERAC", "erac"),
        Arm("ERAC without future entropy", "erac", {"preset": "without_future_entropy"}),
        Arm("AC", "ac"),
        Arm("REINFORCE", "reinforce"),
        Arm("REINFORCE with critic", "reinforce_critic"),
        Arm("MIXER", "mixer"),
        Arm("MRT", "mrt"),
        Arm("RAML", "raml"),
        Arm("VAML", "vaml"),
        Arm("SPG", "spg"),
        Arm("interpolation", "interpolation"),
        Arm("scheduled sampling", "scheduled_sampling"),
        Arm("data noising", "noising"),
        Arm("alpha-DiMT", "alpha_dimt"),
    ),
    baseline="continued MLE",
    table="erpo-table1",
    rouge_table="erpo-table2",
)
