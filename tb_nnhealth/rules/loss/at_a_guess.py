"""A loss and an accuracy that stand where a guess among equally frequent classes would: what scalars alone tell."""

from __future__ import annotations

import math

import numpy as np

from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence import curves, losses, tags
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.enough_told import young
from tb_nnhealth.rules.wording import percent, short

FEWEST = 12
"""Evaluations of the accuracy behind its opening."""
OPENING = 0.1
"""Share of the points that are left out: a loss may begin far above a guess, or learn a little before it blows up."""
SURE = 0.03
"""Standard deviation from point to point of accuracies that are of some hundred samples each."""
MOST = 0.55
"""Accuracy of a guess between two classes, and the luck of it."""
RISING = 1.0
"""Mann-Kendall's z of the accuracy above which something may be learned yet."""
COST = 0.95, 1.1
"""Loss over that of a guess among as many classes as the accuracy tells of, 1 / accuracy: ln of their number."""


def at_a_guess(run: Run) -> Hit | None:
    """The finding; None where a model is watched, whose records tell more, and where something is learned."""
    found = losses.training_loss(run)
    if found is None or run.watches:
        return None
    curve = found.finite()
    values = curve.values[math.ceil(OPENING * len(curve)) :]
    for tag, series in tags.series_of(run, "accuracy"):
        seen = losses.LossCurve(tag, series.steps, series.walls, series.values).finite()
        right = seen.values[math.ceil(OPENING * len(seen)) :] / (100 if len(seen) and seen.values.max() > 1 else 1)
        if min(len(right), len(values)) < FEWEST or curves.noise(right) > SURE:
            continue
        level = curves.median(right)
        if not 0 < level <= MOST or curves.trend(curves.blocks(np.arange(len(right)), right, 100)[1]) > RISING:
            continue
        levels = [curves.median(third) / -math.log(level) for third in np.array_split(values, 3)]
        if COST[0] <= min(levels) and max(levels) <= COST[1]:
            early = young(run, curve, curve.values) and float(np.median(np.diff(seen.steps))) > 1
            return _hit(curve, tag, level, info=early)
    return None


def _hit(curve: losses.LossCurve, accuracy: str, level: float, *, info: bool) -> Hit:
    begin, guess = math.ceil(OPENING * len(curve)), -math.log(level)
    now = curves.median(curve.values[-len(curve) // 3 :])
    return Hit(
        subject=curve.subject,
        **lasting(curve.steps, min(len(curve) - 1, begin + FEWEST - 1), since=begin),
        severity="info" if info else "warning",
        statistic="loss over that of a guess",
        unit="1",
        value=now / guess,
        limit=COST[0],
        direction="above",
        message=f"`{curve.subject}` stays at {short(now)} and `{accuracy}` at {percent(level)}: as a guess among "
        f"about {round(1 / level)} classes, which costs {guess:.2f}. Nothing of the input is in the answers.",
        advice=(
            "Try learning rates ten and a hundred times smaller, above all where the loss began far higher.",
            "Overfit one batch of a few samples: if that fails, the fault is in the model or the loop.",
            "Check that inputs and labels still belong together after shuffling and augmentation.",
        ),
        more={"accuracy": level, "constant_answer": guess},
    )
