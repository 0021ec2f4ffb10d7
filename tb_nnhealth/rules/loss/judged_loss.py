"""The training loss that the rules on its shape judge, from the first step that could move a weight."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import CouldNotCheck, NotApplicable, TooLittleData
from tb_nnhealth.rules.evidence import curves, losses, tags
from tb_nnhealth.rules.evidence.once import once
from tb_nnhealth.rules.evidence.progress import naive_of

Refused = NotApplicable | CouldNotCheck | TooLittleData
OPENING = 5
LEAP = 2.0
FEWEST_AVERAGES = 10
"""Points of a loss that is logged once in many steps, as its mean over an epoch is, from which its shape is judged …"""
AVERAGED_STEPS = 3
"""… over so many times as many steps as points are asked for otherwise …"""
QUIET = 0.05
"""… where the noise from point to point is below this share of the loss, or of its range."""


@once
def judged_loss(run: Run, fewest: int) -> losses.LossCurve | Refused:
    """The finite points of the training loss since the learning rate first exceeded 0, or why there is none.

    ``fewest``: points without which it is too little data.
    """
    if why := tags.moving_target(run):
        return NotApplicable(why)
    found = losses.training_loss(run)
    if found is None:
        return CouldNotCheck(losses.NEEDS)
    curve, rates = found.finite(), losses.learning_rate(run)
    moving = np.flatnonzero(rates[1] > 0) if rates is not None else np.zeros(0, np.int64)
    if rates is not None and len(moving) and moving[0] > 0:
        begun = curve.at_optimizer(run).steps >= rates[0][moving[0]]
        curve = losses.LossCurve(curve.subject, curve.steps[begun], curve.walls[begun], curve.values[begun])
    if len(curve) < fewest and not averaged(run, curve, fewest):
        return TooLittleData(f"{len(curve)} points of the training loss, {fewest} are needed")
    return curve


def averaged(run: Run, curve: losses.LossCurve, fewest: int) -> bool:
    """Whether fewer points tell as much: each stands for many steps of the optimizer, and they scatter little."""
    if len(curve) < FEWEST_AVERAGES:
        return False
    taken = curve.at_optimizer(run).steps
    scale = max(abs(curves.median(curve.values)), float(np.ptp(curve.values)))
    many = taken[-1] - taken[0] >= AVERAGED_STEPS * fewest
    return bool(many and curves.noise(curve.values[len(curve) // 3 :]) < QUIET * scale)


def opening_level(values: curves.Values) -> float:
    """Where the loss began: the median of the first points; the very first where the next have leapt far above it."""
    opening, first = curves.median(values[: max(1, min(OPENING, len(values) // 8))]), float(values[0])
    return first if opening > LEAP * first > 0 else opening


def chance(run: Run) -> float:
    """Cost of a constant answer under the one criterion watched, NaN where there is none or several."""
    known = [naive for history in run.watches.values() if not math.isnan(naive := naive_of(run, history))]
    return known[0] if len(known) == 1 else math.nan


def untrained(run: Run, values: curves.Values) -> float:
    """Cost of knowing nothing: a constant answer's where it is known, and no more than where the loss began."""
    naive, first = chance(run), opening_level(values)
    return first if math.isnan(naive) else min(first, naive)


def on_records(run: Run, steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """The optimizer's step at each of the loss's ``steps``, which may count epochs or samples."""
    curve = losses.training_loss(run)
    if curve is None or not len(curve):
        return steps
    of_optimizer = curve.at_optimizer(run).steps
    if of_optimizer is curve.steps or np.array_equal(of_optimizer, curve.steps):
        return steps
    return np.interp(steps, curve.steps, of_optimizer).astype(np.int64)


def rates_told(run: Run, steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many values of the learning rate the log has up to each of the loss's ``steps``, int64 of shape (n,)."""
    rates = losses.learning_rate(run)
    if rates is None:
        return np.zeros(len(steps), np.int64)
    return np.searchsorted(rates[0], on_records(run, steps), side="right").astype(np.int64)


def rate_at(run: Run, steps: NDArray[np.int64]) -> curves.Values:
    """The learning rate in force at each of the loss's ``steps``, NaN where the log has none (yet)."""
    rates = losses.learning_rate(run)
    if rates is None or not len(rates[0]):
        return np.full(len(steps), np.nan)
    at = np.searchsorted(rates[0], on_records(run, steps), side="right") - 1
    return np.where(at >= 0, rates[1][np.maximum(at, 0)], np.nan)
