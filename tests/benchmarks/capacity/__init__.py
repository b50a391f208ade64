"""How large a cluster must be: constants measured here, formulas, their check, and a simulation.

    python -m tests.benchmarks.capacity                        # all of it, in some twenty minutes
    python -m tests.benchmarks.capacity --steps measure,page   # without real trainings beside predictions

Writes capacity.json and saturation.png into ``--output-dir`` and the tables of deploy/CAPACITY.md between
their markers.
"""
