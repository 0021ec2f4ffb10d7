"""A pace of the weights so slow that it tells by itself, where the loss has too few points, or too much noise."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from tb_nnhealth.findings import Severity
from tb_nnhealth.rules.base import GIVEN, Case, Hit
from tb_nnhealth.rules.evidence import curves, losses, tags
from tb_nnhealth.rules.evidence.pace import Pace, pace
from tb_nnhealth.rules.evidence.settings import Epsilon, binding_clip, ruling_epsilon
from tb_nnhealth.rules.evidence.steps import TARGET
from tb_nnhealth.rules.loss.judged_loss import chance, opening_level
from tb_nnhealth.rules.loss.stretches import line
from tb_nnhealth.rules.wording import percent, round_rate, short

UNHURRIED, LEISURELY = 7e-4, 3e-4
"""Update : weight ratios clearly, and far, below the 1e-3 of CS231n."""
UNLEARNED, UNTOUCHED = 0.7, 0.9
"""Shares of the untrained level above which little, and next to nothing, was learned."""
HALFWAY = 0.25
"""The same where the optimizer's own setting holds its steps down."""
HARDLY_GONE, NEVER_LEFT = 0.5, 0.2
"""Usual step times steps taken, in norms of the weights: a run has not come away from its start, whatever the loss."""
FINE_TUNED = 0.5
BENT, WORTH = 3.0, 0.01
"""Times that the first third must have fallen further than the last, and the share of the loss that it must be."""
LOWERED, RISING = 3.0, 1.02
FEWEST_RECORDS, FEWEST_POINTS, FEWEST_STEPS = 10, 5, 100
LONG = 0.5
"""Share of the run over which the rate must have been at its height, whatever a schedule made of it afterwards."""


def slow_pace(case: Case) -> Hit | None:
    """Small steps and a loss that is about where it began; the rate neither rises nor was it lowered early."""
    moved, found = pace(case.history, tables=True), losses.training_loss(case.run)
    if moved is None or found is None or tags.moving_target(case.run) or not _long_at_full_rate(case):
        return None
    naive = chance(case.run)
    curve = _in_its_unit(case, found.finite(), naive)
    measured = np.isfinite(moved.typical).sum() >= FEWEST_RECORDS and moved.steps[-1] - moved.steps[0] >= FEWEST_STEPS
    if len(curve) < FEWEST_POINTS or not measured or not np.isfinite(moved.usual).any():
        return None
    usual, start = float(np.nanmedian(moved.usual)), opening_level(curve.values)
    untrained = start if math.isnan(naive) else max(start, naive) if start < naive else naive
    level = float(np.median(curve.values[-max(3, len(curve) // 3) :]))
    epsilon, clip = ruling_epsilon(case.history), binding_clip(case.history)
    free = epsilon is None and math.isnan(clip)
    way = usual * float(moved.steps[-1] - moved.steps[0])
    slow = 0 < usual < (TARGET if not free else UNHURRIED if way < HARDLY_GONE else LEISURELY)
    if not slow or start < FINE_TUNED * naive or not untrained > 0:
        return None
    if level < (UNLEARNED if free and way >= NEVER_LEFT else HALFWAY) * min(start, untrained) or level > 2 * start:
        return None
    untouched = way < NEVER_LEFT and level > UNTOUCHED * min(start, untrained)  # it bends to a constant answer's cost
    if free and not untouched and _bent(curve.values):
        return None
    sure = not math.isnan(naive) and usual < case.options["ratio"] and level > UNTOUCHED * min(start, naive)
    return _hit(curve, moved, usual, level / untrained, level, epsilon, clip, "warning" if sure else "info")


def _in_its_unit(case: Case, curve: losses.LossCurve, naive: float) -> losses.LossCurve:
    """``curve``, or the criterion's record where the scalar is that times a small number: it begins far below."""
    recorded = losses.criterion_loss(case.history) if case.history is not None else None
    if recorded is None or len(curve) < FEWEST_POINTS or len(recorded.finite()) < FEWEST_POINTS:
        return curve
    another = opening_level(curve.values) < FINE_TUNED * naive <= opening_level(recorded.finite().values)
    return replace(recorded.finite(), subject=curve.subject) if another else curve


def _bent(values: curves.Values) -> bool:
    """Whether the fall of the first third is surely many times that of the last: the network has begun to learn."""
    first, last = (line(part) for part in (values[: len(values) // 3], values[-(len(values) // 3) :]))
    if first.fall < WORTH * abs(float(values[0])):
        return False
    return first.surely_falls and first.fall - BENT * last.fall > 4 * math.hypot(first.error, BENT * last.error)


def _long_at_full_rate(case: Case) -> bool:
    """Whether the rate no longer rises, and a schedule lowers it by ``LOWERED`` in the last half of the run at most."""
    rates = losses.learning_rate(case.run)
    if rates is None or not np.isfinite(rates[1]).any():
        return True
    known = np.isfinite(rates[1])
    steps, values = rates[0][known], rates[1][known]
    rising = values[-1] >= values.max() and values[-1] > RISING * values[(3 * len(values)) // 4]
    full = steps[LOWERED * values >= values.max()]
    return not rising and bool(full[-1] - steps[0] >= LONG * (steps[-1] - steps[0]))


def _hit(
    found: losses.LossCurve, moved: Pace, usual: float, share: float, level: float, epsilon: Epsilon | None,
    clip: float, severity: Severity,
) -> Hit:  # fmt: skip
    at = f" at learning rate {short(moved.rate)}" if moved.rate > 0 else ""
    told = (
        f"A step changes the weights by {short(usual)} of their norm{at} (1e-3 is usual), and `{found.subject}` is at "
        f"{short(level)}, {percent(share)} of the untrained level"
    )
    advice = "Raise the learning rate tenfold, and again if the loss does not come down."
    more: dict[str, Any] = {"update_ratio": usual, "loss": level}
    if moved.rate > 0:
        advice = f"Raise the learning rate from {short(moved.rate)} towards {round_rate(moved.rate * TARGET / usual)}."
        more |= {"learning_rate": moved.rate, "learning_rate_to_try": moved.rate * TARGET / usual}
    if epsilon is not None:
        told += (
            f"; eps={epsilon.value:g} of {epsilon.optimizer} is {short(epsilon.times)} times as large as the gradients,"
            " which it is to keep from being divided by zero"
        )
        more |= {"epsilon": epsilon.value, "epsilon_over_gradient": epsilon.times, GIVEN: True}
    if clip > 0:
        told += f"; the gradients' norm is {short(clip)} step by step: clipping sets the size of the steps, not they"
        more |= {"clipped_to": clip, GIVEN: True}
    return Hit(
        subject=found.subject,
        first_step=int(moved.steps[0]),
        fired_step=int(moved.steps[-1]),
        last_step=int(moved.steps[-1]),
        count=int(np.isfinite(moved.typical).sum()),
        active=True,
        severity=severity,
        statistic="update_ratio",
        unit="per step",
        value=usual,
        limit=next(limit for limit in (LEISURELY, UNHURRIED, TARGET) if usual < limit),
        direction="below",
        message=told + ".",
        advice=(
            *(() if epsilon is None else (f"Set eps of {epsilon.optimizer} back to 1e-8.",)),
            *(
                (f"Clip to more than {short(clip)}: to about what the norm is without, so that few steps are cut.",)
                * (clip > 0)
            ),
            advice,
            "Check that the loss is not divided twice, and that gradients are not clipped to a tiny norm.",
        ),
        more=more,
    )
