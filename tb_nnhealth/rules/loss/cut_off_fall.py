"""A drop of the learning rate that cut off the fall of the loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.rules.base import Case, Hit
from tb_nnhealth.rules.evidence import curves
from tb_nnhealth.rules.loss.rate_drops import Drop
from tb_nnhealth.rules.wording import percent, round_rate, short

WORTHWHILE = 0.1
"""Share of the loss left that more steps at the old rate must have promised."""


def _got(drop: Drop) -> float:
    return drop.before.end - drop.after.end


def _promised(drop: Drop) -> float:
    """What all further stretches together would have gained: a geometric series, or the next ten stretches."""
    ratio = drop.expected / drop.before.fall
    return drop.expected * (10.0 if ratio > 0.9 else 1 / (1 - ratio))


def too_early(drop: Drop, values: curves.Values, whole: float, case: Case) -> bool:
    expected, got = drop.expected, _got(drop)
    sure = 4 * np.hypot(drop.before.error, drop.after.error)
    since = values[drop.at :]
    later = drop.before.end - float(np.median(since[-max(3, len(since) // 5) :]))
    return bool(
        whole > 0
        and expected > max(case.options["gain"] * whole, sure)
        and max(got, later * drop.length / len(since)) < case.options["left"] * expected
        and drop.expected > 0
        and _promised(drop) > WORTHWHILE * abs(drop.after.end)
    )


def cut_off_share(drop: Drop, whole: float, case: Case) -> float:
    lost = drop.expected - _got(drop)
    return min(1.0, max(0.0, lost / whole)) if whole > 0 else 0.0


def cut_off_hit(subject: str, steps: NDArray[np.int64], values: curves.Values, drop: Drop, whole: float) -> Hit:
    at, expected, got = int(steps[drop.at]), drop.expected, _got(drop)
    span = int(steps[min(len(steps) - 1, drop.at + drop.length - 1)] - steps[drop.at])
    between = (drop.high * drop.low) ** 0.5 if drop.low > 0 else drop.high / 3
    return Hit(
        subject=subject,
        first_step=at,
        fired_step=int(steps[min(len(steps) - 1, drop.at + drop.length - 1)]),
        last_step=int(steps[-1]),
        count=len(steps) - drop.at,
        active=True,
        severity="warning",
        statistic="fall of the loss after the drop, relative to its course",
        unit="1",
        value=got / expected,
        limit=max(got / expected, 0.25),
        direction="below",
        message=(
            f"The learning rate went from {short(drop.high)} to {short(drop.low)} at step {at:,} while `{subject}` was "
            f"falling; in the {span:,} steps after it fell by {short(max(0.0, got))}, where its course led down by "
            f"{short(expected)}, {percent(expected / whole)} of all that it has gained."
        ),
        advice=(
            f"Keep the learning rate at {short(drop.high)} beyond step {at:,}, until the loss has settled.",
            f"Lower it by less: to {round_rate(between)} instead of {short(drop.low)}.",
            "Check that the scheduler is stepped once per epoch, if its milestones count epochs.",
        ),
        more={
            "learning_rate": drop.low,
            "learning_rate_before": drop.high,
            "expected_fall": expected,
            "fall": got,
            "loss": float(values[-1]),
        },
    )
