"""A learning rate that still rises at the end of the log, in steps that have led nowhere yet: a warm-up too long."""

from __future__ import annotations

import numpy as np

from tb_nnhealth.rules.base import Case, Hit
from tb_nnhealth.rules.evidence import losses
from tb_nnhealth.rules.evidence.pace import pace
from tb_nnhealth.rules.evidence.progress import progress
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.wording import short

FEWEST_STEPS = 200
NEVER_LEFT = 0.2
"""Steps taken, added up in norms of the weights, below which a run has not come away from its start."""
RISES = 1.5
"""Rate at the end over that of the middle: a warm-up in a straight line comes to 2."""


def unfinished_warm_up(case: Case) -> Hit | None:
    """For information: a warm-up that is under way looks the same, and only the user knows where the run is to end."""
    rates, moved, told = losses.learning_rate(case.run), pace(case.history), losses.training_loss(case.run)
    if rates is None or moved is None or told is None or case.history is None:
        return None
    seen, come = np.isfinite(moved.typical), progress(case.run, case.history)
    if come is None or not come.enough or come.learned or not seen.any():
        return None
    steps = moved.steps[seen]
    known = np.isfinite(rates[1])
    at, rate = rates[0][known], rates[1][known]
    if steps[-1] - steps[0] < FEWEST_STEPS or not len(rate) or rate[-1] < rate.max():
        return None
    middle = float(np.interp(at[0] + (at[-1] - at[0]) / 2, at, rate))
    pace_there = moved.typical[seen]
    way = float((np.diff(steps) * (pace_there[1:] + pace_there[:-1]) / 2).sum())
    if not rate[-1] > RISES * middle or not way < NEVER_LEFT:
        return None
    return Hit(
        subject=told.subject,
        **lasting(steps, -1),
        severity="info",
        statistic="way of the weights",
        unit="norms of the weights",
        value=way,
        limit=NEVER_LEFT,
        direction="below",
        message=(
            f"The learning rate is still rising, to {short(float(rate[-1]))} at step {int(at[-1]):,}; all steps so far "
            f"add up to {short(way)} of the weights' norm, and the loss is at {short(come.now)}. If the run is to end "
            "about here, the warm-up is too long."
        ),
        advice=(
            "Let the warm-up take a few per cent of the run: a few hundred steps are enough for most networks.",
            "Count its length in the unit in which the scheduler steps: batches or epochs.",
        ),
        more={"learning_rate": float(rate[-1]), "loss": come.now},
    )
