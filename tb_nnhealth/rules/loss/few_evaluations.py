"""Validation of which few evaluations tell: it rises at each of them, far above a training loss next to nothing."""

from __future__ import annotations

import numpy as np

from tb_nnhealth.rules.base import Hit
from tb_nnhealth.rules.evidence import losses
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.accuracy_lost import ADVICE
from tb_nnhealth.rules.loss.departure import aligned
from tb_nnhealth.rules.wording import short

FEWEST = 4
"""Evaluations from the lowest on: it rose three times running."""
RISEN = 1.3
"""The last evaluation over the lowest."""
APART, FALLEN, POOR = 5.0, 0.5, 0.5
"""Validation over training at the end; training at the end over what it was when validation was lowest; and share of
the first training loss above which validation is poor."""


def risen_each_time(val: losses.LossCurve, train: losses.LossCurve) -> Hit | None:
    """The finding on evaluations that are too few for a trend; None where they do not tell."""
    if len(val) < FEWEST or len(train) < 2 * FEWEST:
        return None
    values, low_at = val.values, int(np.argmin(val.values))
    then = float(train.values[aligned(train, val)[low_at]])
    now = float(np.median(train.values[-max(3, len(train) // 20) :]))
    since = values[low_at:]
    rises = len(since) >= FEWEST and bool((np.diff(since) > 0).all()) and values[-1] > RISEN * values[low_at]
    poor = values[-1] > max(POOR * float(np.median(train.values[:3])), APART * now)
    if not (rises and poor and 0 < now < FALLEN * then):
        return None
    best, last = float(values[low_at]), float(values[-1])
    return Hit(
        subject=val.subject,
        **lasting(val.steps, -1, since=low_at),
        severity="warning",
        statistic="validation loss",
        unit="unit of the loss",
        value=last,
        limit=RISEN * best,
        direction="above",
        message=(
            f"`{val.subject}` has risen at each of {len(since) - 1} evaluations since step {int(val.steps[low_at]):,},"
            f" from {short(best)} to {short(last)}, while the training loss went from {short(then)} to {short(now)}."
        ),
        advice=(f"Keep the network of step {int(val.steps[low_at]):,}, and evaluate more often.", *ADVICE),
        more={"best": best, "best_step": int(val.steps[low_at]), "training_loss": now},
    )
