"""A learning rate that came to next to nothing early in the run, while the loss was falling."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.findings import Severity
from tb_nnhealth.rules.base import Case, Hit
from tb_nnhealth.rules.evidence import curves, losses
from tb_nnhealth.rules.evidence.weights import weights_of
from tb_nnhealth.rules.hits import lasting
from tb_nnhealth.rules.loss.judged_loss import on_records
from tb_nnhealth.rules.loss.rate_drops import FEWEST
from tb_nnhealth.rules.loss.rate_spent import Spent
from tb_nnhealth.rules.loss.stretches import line
from tb_nnhealth.rules.wording import percent, short

FEWEST_POINTS = 24
UNFINISHED = 0.1
"""Share of the untrained level above which a loss whose rate was spent early is told, for information."""
GAINED = 0.9
AT_ONCE = 0.25
"""Share of the run's steps within which records, which lie closer together at its start, are asked as well."""
SPENT = 99.0
"""The greatest learning rate over one that changes next to nothing any more: two drops by ten, as they are rounded."""


def spent_from(
    values: curves.Values,
    rates: curves.Values,
    start: float,
    poor: float,
    since: float = -math.inf,
    latest: int | None = None,
) -> int:
    """The index from which the rate is next to nothing, where the loss stayed above ``poor`` of ``start``; else 0.

    It must be so by the index ``latest``, the middle of the points where none is given. Until then the loss must have
    been falling, or have come a tenth below ``since``.
    """
    later = np.maximum.accumulate(rates[::-1])[::-1]
    low = np.flatnonzero(later * SPENT <= rates.max())
    at = int(low[0]) if low.size else 0
    if not FEWEST <= at <= (len(values) // 2 if latest is None else latest) or not start > 0:
        return 0
    stands = not line(values[at:]).surely_falls
    high = float(np.median(values[at:])) > poor * start
    fell = line(values[:at]).surely_falls or float(np.median(values[at // 2 : at])) < GAINED * since
    return at if fell and stands and high else 0


def spent_within(
    case: Case, curve: losses.LossCurve, steps: NDArray[np.int64], values: curves.Values, start: float
) -> int:
    """The same for an optimizer that lowers its rate itself: its steps shrink, and more than its gradients do."""
    if case.history is None:
        return 0
    weights = weights_of(case.history)
    weights = weights.only(weights.matrix & weights.trained)
    if not weights.names or len(weights.steps) < FEWEST_POINTS:
        return 0
    with np.errstate(all="ignore"):
        steps_taken = weights.update.astype(np.float64)
        share = steps_taken / weights.gradient
    known = np.isfinite(steps_taken) & np.isfinite(share) & (share > 0)
    seen = known.any(axis=1)
    if seen.sum() < FEWEST_POINTS:
        return 0
    taken, relative = (np.nanmedian(np.where(known, x, np.nan)[seen], axis=1) for x in (steps_taken, share))
    effective = np.maximum(*(curves.smooth(x, 5) / curves.smooth(x, 5).max() for x in (taken, relative)))
    at = np.searchsorted(weights.steps[seen], on_records(case.run, steps), side="right") - 1
    return spent_from(values, effective[np.maximum(at, 0)], start, case.options["poor"], since=start)


def spent_at_once(case: Case, start: float) -> Hit | None:
    """The same within the first steps, of which records tell that lie closer together than the loss's points."""
    recorded = [
        (history, curve.finite())
        for history in case.run.watches.values()
        if (curve := losses.criterion_loss(history)) is not None
    ]
    if len(recorded) != 1 or len(recorded[0][1]) < FEWEST_POINTS:
        return None
    curve = recorded[0][1]
    rates = losses.learning_rate(case.run)
    if rates is None:
        return None
    known = np.searchsorted(rates[0], curve.steps, side="right") - 1
    if (known < 0).any():
        return None
    latest = int(np.searchsorted(curve.steps, AT_ONCE * curve.steps[-1]))
    at = spent_from(curve.values, rates[1][known], start, UNFINISHED, latest=min(latest, len(curve) - FEWEST))
    if not at:
        return None
    return spent_hit(curve.subject, curve.steps, curve.values, rates[1][known], at, "info")


def spent_hit(
    subject: str, steps: NDArray[np.int64], values: curves.Values, rates: curves.Values, at: int, severity: Severity
) -> Hit:
    high, level, share = float(rates.max()), float(np.median(values[at:])), at / len(values)
    low = float(rates[at])
    told = f"The learning rate came from {short(high)} to {short(low)}"
    if low > high / SPENT:
        told = "The optimizer's steps came to a hundredth of their size, at a learning rate that it lowers itself,"
    return Hit(
        subject=subject,
        **lasting(steps, -1, since=at),
        severity=severity,
        statistic="share of the run in which the learning rate was more than a hundredth of its greatest",
        unit="1",
        value=share,
        limit=0.5,
        direction="below",
        message=(
            f"{told} by step {int(steps[at]):,} of {int(steps[-1]) + 1:,}, while `{subject}` was falling; it has stood"
            f" at {short(level)} since."
        ),
        advice=(
            f"Stretch the decay over the whole run: {int(steps[-1]) + 1:,} steps in place of {int(steps[at]):,}.",
            "Check that the scheduler is stepped once per epoch, if its milestones or its factor count epochs.",
        ),
        more={"learning_rate": float(rates[at]), "learning_rate_before": high, "loss": level},
    )


def of_records(spent: Spent, severity: Severity) -> Hit:
    curve, steps = spent.curve, spent.last + 1
    since = int(curve.steps[len(curve) - spent.points])
    return Hit(
        subject=curve.subject,
        first_step=since if curve.steps[-1] < spent.last else spent.step,
        fired_step=int(curve.steps[-1]),
        last_step=int(curve.steps[-1]),
        count=spent.points,
        active=True,
        severity=severity,
        statistic="share of the run in which the learning rate was more than a hundredth of its greatest",
        unit="1",
        value=spent.step / steps,
        limit=0.5,
        direction="below",
        message=(
            f"The learning rate came from {short(spent.high)} to {short(spent.low)} by the optimizer's step "
            f"{spent.step:,} of {steps:,}, and `{curve.subject}` has been at {short(spent.level)} since"
            + ("." if spent.unscaled else f", {percent(spent.level / spent.untrained)} of the untrained level.")
        ),
        advice=(
            f"Stretch the decay over the whole run: {steps:,} steps in place of {spent.step:,}.",
            "Check that the scheduler is stepped once per epoch, if its milestones or its factor count epochs.",
            "ReduceLROnPlateau: mode='min' where it is given a loss.",
        ),
        more={"learning_rate": spent.low, "learning_rate_before": spent.high, "loss": spent.level},
    )
