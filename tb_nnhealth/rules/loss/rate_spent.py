"""A learning rate that was spent early, where the loss has few points: the rate itself was recorded step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tb_nnhealth.rules.base import Case
from tb_nnhealth.rules.evidence import losses, tags
from tb_nnhealth.rules.loss.judged_loss import chance, opening_level
from tb_nnhealth.rules.loss.stretches import line

SPENT = 99.0
"""The greatest learning rate over one that changes next to nothing any more: two drops by ten, as they are rounded."""
FEWEST_AFTER, FEWEST_STEPS = 4, 60
SETTLED = 0.1
"""Share of its level by which the loss may still fall after the rate is spent."""
AT_ONCE = 0.1
"""Share of the run within which a rate that is spent has had no time to bring the loss down, whether it still falls."""
FINE_TUNED = 0.5


@dataclass(frozen=True)
class Spent:
    """``step``: of the optimizer, the first at which the rate is next to nothing; ``low``, ``high``: the rates;
    ``points``: indices of the loss's points from there on; ``level``: their median; ``untrained``, and whether it is
    known; ``at_once``: within the first steps of the run; ``unscaled``: the loss comes to 0 or below and no constant
    answer's cost is known, so that shares of its level tell nothing.
    """

    curve: losses.LossCurve
    step: int
    last: int
    low: float
    high: float
    points: int
    level: float
    untrained: float
    known: bool
    at_once: bool
    unscaled: bool


def rate_spent(case: Case) -> Spent | None:
    """Within the first half of the run the rate came for good to a hundredth of its greatest value.

    The loss has stood since, but for a rate that was spent at once, and was not low to begin with.
    """
    found, rates = losses.training_loss(case.run), losses.learning_rate(case.run)
    if found is None or rates is None or len(rates[1]) < 2 or tags.moving_target(case.run):
        return None
    steps, values = rates[0], rates[1]
    later = np.maximum.accumulate(values[::-1])[::-1]
    low = np.flatnonzero(later * SPENT <= values.max())
    curve = found.finite()
    if not low.size or not low[0] or len(curve) < FEWEST_AFTER:
        return None
    at = curve.at_optimizer(case.run).steps
    step, last = int(steps[low[0]]), int(max(steps[-1], at[-1]))
    since = curve.values[at >= step]
    if step - steps[0] > (last - steps[0]) / 2 or last - step < FEWEST_STEPS or len(since) < FEWEST_AFTER:
        return None
    naive, start = chance(case.run), opening_level(curve.values)
    level, trend = float(np.median(since)), line(since)
    at_once = step - steps[0] <= AT_ONCE * (last - steps[0])
    stands = trend.fall < SETTLED * abs(level) or at_once
    if not stands or start < FINE_TUNED * naive or not start > 0:
        return None
    untrained = start if math.isnan(naive) else min(start, naive)
    return Spent(curve, step, last, float(values[low[0]]), float(values.max()), len(since), level, untrained,
                 not math.isnan(naive), at_once, math.isnan(naive) and bool(curve.values.min() <= 0))  # fmt: skip
