"""Trainings that are set aside: whoever chooses a threshold does not look at them, nor at their results.

The line below each ill one is what its fault costs (``python -m tests.zoo.harm --held-out``): the mean of the last
tenth of each scalar, and in parentheses that of the same training without the fault. Where ranks drift apart or a
parameter is never updated, the fault is proven by construction, and may cost little.

Empty where what was set aside has been looked at and joined the tuned part, until others are set aside.
"""
