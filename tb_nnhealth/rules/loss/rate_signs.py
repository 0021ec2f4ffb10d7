"""What the curve of the loss shows of a learning rate that is too high: leaps, returns, and plateaus left too late."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.rules.base import Case
from tb_nnhealth.rules.evidence import curves
from tb_nnhealth.rules.evidence.pace import Pace
from tb_nnhealth.rules.loss.rate_drops import Drop, drops
from tb_nnhealth.rules.loss.stretches import Line, line
from tb_nnhealth.rules.wording import short

OPENING = 0.2
REGRESS = 0.25
REGRESS_OF_LEVEL = 0.02
"""Share of the untrained level below which a return from the lowest level is none."""
STUCK = 0.8
"""Share of the untrained level from which hardly anything was learned."""
SETTLED = 0.1
FORGOT, ENOUGH_TO_FORGET = (0.95, 1.2), 0.2
"""Shares of the untrained level between which all that was learned is lost again, and of the pace that it takes."""
UNSURE = 0.5
"""Shares of what was gained: a fall below the first is none, a plateau's may by its error not exceed the second."""
FELL_WITH_RATE = 0.25
FLAT_BEFORE = 0.2
DROP_FACTOR = 3.0
RATE_LEAPS = 3.0
LONG_BEFORE = 10
LEAP_SHOWS = 10
"""Points within which the loss must answer to a leap of the rate."""
FEWEST_TOLD = 3
RAISED_LOSS = 0.5


@dataclass(frozen=True)
class Shape:
    """``level``: of the last half; ``leapt``: highest of the medians of three in the opening, over the first loss;
    ``leapt_out``: it lies beyond all of the last half too, so that it was no noise about a level;
    ``regress``: how far it ends above its lowest level, in the loss's unit, 0 where that is noise.
    """

    level: float
    untrained: float
    flat: bool
    leapt: float
    leapt_out: bool
    leap_at: int
    regress: float
    lowest: float
    lowest_at: int

    @property
    def forgot(self) -> bool:
        """Whether all that had been learned is lost again."""
        low, high = FORGOT
        return self.regress > 0 and low * self.untrained < self.level < high * self.untrained


def shape_of(values: curves.Values, start: float) -> Shape:
    half, trend = values[len(values) // 2 :], line(values[len(values) // 2 :])
    level = float(np.median(half))
    opening = curves.smooth(values[: max(5, int(OPENING * len(values)))], 3)
    width = max(5, len(values) // 20)
    smoothed = curves.smooth(values, width)
    lowest = float(smoothed.min())
    end = float(np.median(values[-max(5, len(values) // 8) :]))
    regress, noise = end - lowest, curves.noise(values)
    least = max(REGRESS * (start - lowest), REGRESS_OF_LEVEL * start)
    return Shape(
        level=min(level, trend.end) if trend.fall > 0 else level,
        untrained=start,
        flat=_settled(trend, start),
        leapt=float(opening.max()) / max(start, values[0]) if start > 0 else math.nan,
        leapt_out=bool(opening.max() > curves.smooth(half, 3).max()),
        leap_at=int(np.argmax(opening)),
        regress=regress if regress > max(least, 6 * noise / math.sqrt(width)) else 0.0,
        lowest=lowest,
        lowest_at=int(np.argmin(smoothed)),
    )


def _settled(trend: Line, start: float) -> bool:
    """Whether the loss falls no more, and not merely by the reading that its noise allows."""
    gained = max(start - trend.end, 0.0)
    plateau = trend.end > STUCK * start or trend.fall + 2 * trend.error < UNSURE * gained
    return plateau and (not trend.surely_falls or trend.fall < SETTLED * gained)


def fastest_pace(moved: Pace | None) -> float:
    if moved is None:
        return math.nan
    sustained = moved.sustained
    return float(np.nanmax(sustained)) if np.isfinite(sustained).any() else math.nan


def harm(shape: Shape, moved: Pace | None, case: Case) -> str:
    """What the high rate has done, as a sentence, or "" where nothing shows that it did."""
    if not shape.flat or not shape.untrained > 0 or shape.level < case.options["poor"] * shape.untrained:
        return ""
    leapt = shape.leapt > case.options["leap"]
    told = f"it had leapt to {short(shape.leapt)} times its first value before"
    fastest = fastest_pace(moved)
    if math.isnan(fastest):
        return told if leapt and shape.leapt_out and shape.level > STUCK * shape.untrained else ""
    if moved is None or fastest < case.options["ratio"] * (ENOUGH_TO_FORGET if shape.forgot else 1.0):
        return ""
    if leapt:
        return told
    if shape.regress > 0:
        return f"it had been down at {short(shape.lowest)} before"
    grown = moved.grown[np.isfinite(moved.grown)]
    if len(grown) > 1 and (median := float(np.median(grown))) > case.options["grown"]:
        return f"the weights have grown {short(median)}-fold meanwhile"
    return ""


def fell_with_rate(values: curves.Values, rates: curves.Values) -> Drop | None:
    """The first drop of the rate with which the loss fell off a plateau."""
    for drop in drops(values, rates, DROP_FACTOR):
        flat_from = drop.at - int(FLAT_BEFORE * len(values))
        if flat_from < 0:
            continue
        plateau = line(values[flat_from : drop.at])
        fall = plateau.end - drop.after.start
        sure = 4 * math.hypot(plateau.error, drop.after.error)
        flat = not plateau.surely_falls or plateau.fall < 0.1 * fall
        if flat and plateau.end > 0 and fall > max(FELL_WITH_RATE * plateau.end, sure):
            return drop
    return None


def loss_leaps_with_rate(
    values: curves.Values, rates: curves.Values, shape: Shape, told: NDArray[np.int64]
) -> int | None:
    """The index from which the rate is far above what it had long been, and the loss far above what it had reached.

    ``told``: values of the rate that the log has up to each point. Between records far apart a ramp looks like a leap.
    """
    if not np.isfinite(rates).all():
        return None
    n, smoothed = len(values), curves.smooth(values, 3)
    before = np.maximum.accumulate(rates)
    for i in range(LONG_BEFORE, n - LEAP_SHOWS + 1):
        usual = before[i - 1]
        if not (usual > 0 and rates[i] > RATE_LEAPS * usual and usual <= 1.05 * before[i - LONG_BEFORE]):
            continue
        if told[i - 1] - told[i - LONG_BEFORE] < FEWEST_TOLD:
            continue
        reached = float(np.median(values[i - LONG_BEFORE : i]))
        gained = shape.untrained - reached
        high = float(np.median(smoothed[i : i + LEAP_SHOWS].max()))
        if high - reached > max(RAISED_LOSS * gained, 10 * curves.noise(values[:i])) and gained > 0:
            return i
    return None
