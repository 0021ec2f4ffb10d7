"""Small real trainings, ill and healthy, on which the diagnosis is scored: ``make zoo``.

Kinds in ``held_out/`` are set aside: nothing is tuned on them, and they are scored apart.
"""
