"""A loss below the least value that its criterion can have: what it is given is not what it takes."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from tb_nnhealth import schema
from tb_nnhealth.history import History
from tb_nnhealth.rules.base import GIVEN, Hit
from tb_nnhealth.rules.data.batch_rows import number
from tb_nnhealth.rules.evidence.losses import LossCurve, criterion_loss
from tb_nnhealth.rules.wording import short

NEVER_NEGATIVE = ("CrossEntropyLoss", "BCELoss", "BCEWithLogitsLoss", "MSELoss")
"""Criteria that are 0 at the least, for targets that are classes or shares; squared errors for any."""
MAY_BE_NEGATIVE = ("NLLLoss", "KLDivLoss", "GaussianNLLLoss", "PoissonNLLLoss")
FAR_BELOW = 20.0
"""How far below 0 a criterion of one's own must come that was given classes: it may subtract something on purpose."""
RECORDS = 5
BEYOND_ROUNDING = 1e-2
THIRDS, FEWEST_POINTS = 3, 15
FASTER = 2.0
"""Times the fall of the third before, by which each third of a loss without a least value falls."""
RUNAWAY = 100.0
"""Times its first size, and 1, below 0: logarithms of densities fall below 0 too, but ever more slowly."""


def below_floor(history: History, subject: str) -> Hit | None:
    """The finding on the loss ``subject``, None where its criterion may be negative, or is not."""
    kind = history.layout.criterion.type
    curve = criterion_loss(history)
    own = bool(kind) and kind not in MAY_BE_NEGATIVE and history.layout.criterion.classes > 1
    if curve is None or not (kind in NEVER_NEGATIVE or own):
        return None
    named = f"`{kind}`" if kind in NEVER_NEGATIVE else "cross-entropy"
    floor = -BEYOND_ROUNDING if kind in NEVER_NEGATIVE else -FAR_BELOW
    below = np.flatnonzero((curve.values < floor) | np.isneginf(curve.values))
    if len(below) < RECORDS:
        return None
    least, most = (number(history, schema.TARGET, "", name) for name in (schema.MIN, schema.MAX))
    low, high = (float(f(v[np.isfinite(v)])) if np.isfinite(v).any() else 0.0 for f, v in ((min, least), (max, most)))
    squares = kind == "MSELoss"
    outside = (low < 0 or high > 1) and not squares
    told = (
        f"its targets go from {short(low)} to {short(high)}, where shares lie between 0 and 1"
        if outside and not np.isnan(number(history, schema.SPREAD, "target")).all()
        else "look at its sign, at what it is given, and in which order"
    )
    finite = curve.values[np.isfinite(curve.values)]
    return Hit(
        subject=subject,
        first_step=int(curve.steps[below[0]]),
        fired_step=int(curve.steps[below[RECORDS - 1]]),
        last_step=int(curve.steps[below[-1]]),
        count=len(below),
        active=bool(below[-1] == len(curve) - 1),
        severity="critical",
        statistic="training loss",
        unit="unit of the loss",
        value=float(finite.min()),
        limit=0.0,
        direction="below",
        message=f"`{subject}` falls below 0, to {short(float(finite.min()))}, which no {named}"
        f"{'' if squares else ' of classes or shares'} can: {told}. It has no least value any more, and the"
        " outputs run away.",
        advice=(
            "Look at the sign of the loss: the optimizer makes it smaller.",
            "Call the criterion as criterion(output, target), in this order.",
            "Bring the targets into the form it takes: class indices, or shares between 0 and 1 (masks of 0 and 255"
            " divided by 255).",
        ),
        more={"targets": [low, high], GIVEN: True},
    )


def negated(history: History, logged: LossCurve) -> Hit | None:
    """The finding on a scalar that is the watched criterion's value with the other sign, while that rises."""
    curve = criterion_loss(history)
    if curve is None or history.layout.criterion.type not in NEVER_NEGATIVE:
        return None
    steps, of_scalar, of_criterion = np.intersect1d(logged.steps, curve.steps, return_indices=True)
    minus, value = logged.values[of_scalar], curve.values[of_criterion]
    told = np.isfinite(minus) & np.isfinite(value) & (value != 0)
    if told.sum() < RECORDS or not (np.abs(minus[told] / value[told] + 1) < BEYOND_ROUNDING).all():
        return None
    first, last = float(value[told][0]), float(value[told].max())
    if not last > 2 * first:
        return None
    at = steps[told]
    return Hit(
        subject=logged.subject,
        first_step=int(at[0]),
        fired_step=int(at[RECORDS - 1]),
        last_step=int(at[-1]),
        count=int(told.sum()),
        active=True,
        severity="critical",
        statistic="training loss",
        unit="unit of the loss",
        value=last,
        limit=2 * first,
        direction="above",
        message=f"`{logged.subject}` is what `{history.layout.criterion.type}` returned with its sign turned, and that"
        f" rose from {short(first)} to {short(last)}: the optimizer climbs.",
        advice=("Take the minus before the loss away: the optimizer makes smaller what backward() is called on.",),
        more={GIVEN: True},
    )


def without_bound(curve: LossCurve, criteria: Collection[str] = ()) -> Hit | None:
    """The finding on a loss that falls far below 0, ever faster: whatever it is, it has no least value.

    ``criteria``: those watched; one that takes logarithms of probabilities has no least value where it is given others.
    """
    finite = curve.finite()
    if len(finite) < FEWEST_POINTS:
        return None
    values, n = finite.values, len(finite)
    ends = [float(np.median(part)) for part in np.array_split(values, THIRDS + 1)]
    falls = -np.diff(ends)
    size = max(1.0, abs(float(np.median(values[:THIRDS]))))
    if not (ends[-1] < -RUNAWAY * size and falls[0] > 0 and (falls[1:] > FASTER * falls[:-1]).all()):
        return None
    first = int(np.argmax(values < -size))
    return Hit(
        subject=curve.subject,
        first_step=int(finite.steps[first]),
        fired_step=int(finite.steps[min(n - 1, max(first + RECORDS, FEWEST_POINTS - 1))]),
        last_step=int(finite.steps[-1]),
        count=n - first,
        active=True,
        severity="critical",
        statistic="training loss",
        unit="unit of the loss",
        value=float(values.min()),
        limit=-RUNAWAY * size,
        direction="below",
        message=f"`{curve.subject}` falls below 0 and ever faster, to {short(float(values.min()))}: it has no least "
        "value, and the outputs run away.",
        advice=(
            "Look at the sign of the loss and of each of its terms: what is to grow is subtracted, errors are added.",
            "Call the criterion as criterion(output, target), in this order.",
        ),
        more={} if set(criteria) & set(MAY_BE_NEGATIVE) else {GIVEN: True},
    )
