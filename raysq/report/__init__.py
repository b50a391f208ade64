"""The report of sweeps: from MLflow and kept rows to tables, figures, tests and one page.

``gather`` brings the trials of a space together (``rows`` is what they are kept as), ``groups`` those of one
line of a table; ``summary`` and ``bootstrap`` are the arithmetic, ``papers`` the published numbers. Of these
are made ``tables``, ``comparisons``, ``critics`` and ``figures``, and ``section`` is all that is said of a
space; ``formats`` writes tables down, and ``page`` is what people look at.
"""
