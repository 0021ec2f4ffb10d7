"""Trainings that are set aside: whoever chooses a threshold does not look at them, nor at their results.

The line below each ill one is what its fault costs (``python -m tests.zoo.harm --held-out``): the mean of the last
tenth of each scalar, and in parentheses that of the same training without the fault. Where ranks drift apart or a
parameter is never updated, the fault is proven by construction, and may cost little.

Drawn from the sources of the proof by how often people meet a fault, not by its rarity: DeepCrime's mutation operators,
AUTOTRAINER's grid, TheDeepChecker's families, TrainCheck's silent errors, "37 reasons why your neural network is not
working", CS231n, Karpathy's recipe, and the most frequent questions of the forums.
"""
