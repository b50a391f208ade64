"""Nine runs of each algorithm (Dai, Xie, Hovy 2018, Table 1): nine seeds, or three critics by three actors.

The actors of a grid start from one MLE actor, that of the space's seed.
"""

from raysq.sweep.space import Arm, Axis, Space

THREE = (1, 2, 3)
NINE = tuple(range(1, 10))


def grid(label: str, recipe: str, critic: str = "critic") -> Arm:
    """Three critics, each with three actors."""
    axes = (Axis("critic_seed", THREE, (f"{critic}.seed",)), Axis("actor_seed", THREE, (f"{recipe}.seed",)))
    return Arm(label, recipe, axes=axes)


SPACE = Space(
    "seed_grid",
    "Nine runs of each algorithm",
    arms=(
        Arm("MLE", "mle", seeds=NINE),
        Arm("RAML", "raml", seeds=NINE),
        grid("VAML", "vaml", critic="oracle"),
        grid("AC", "ac"),
        grid("ERAC", "erac"),
    ),
    seeds=(1,),
    baseline="MLE",
    table="dai2018-table1",
)
