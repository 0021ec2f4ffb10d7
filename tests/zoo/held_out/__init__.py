"""Trainings that are set aside: whoever chooses a threshold does not look at them, nor at their results."""
