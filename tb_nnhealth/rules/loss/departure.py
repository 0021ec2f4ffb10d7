"""How far a validation curve ends above its minimum, and what training did meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.rules.evidence import curves, losses

POINTS_SINCE_MINIMUM, POINTS_THAT_STAND = 3, 5
DROP_SHARE = 0.05
STANDARD_ERRORS = 4.0
RISING = 1.5
"""Mann-Kendall's z since the minimum, above which validation rises as a trend."""


@dataclass(frozen=True)
class Departure:
    """Where validation had its minimum, and how far above it ends. Indices into the validation curve."""

    low_at: int
    low: float
    end: float
    limit: float
    crossing: int
    tail: int


def departure(values: curves.Values, rise: float, untrained: float = -np.inf) -> Departure:
    """How far ``values``, float64 of shape (n,), end above their minimum; ``rise``: share of the minimum that counts.

    ``untrained``: the loss at the start of training, where known, beside which a rise must be more than a trifle.
    """
    n = len(values)
    width = 1 if n < 12 else max(3, n // 15)
    level = curves.smooth(values, width)
    tail = max(2, min(20, n // 6))
    low_at = int(np.argmin(level))
    low, end, noise = float(level[low_at]), float(np.median(values[-tail:])), curves.noise(values)
    error = noise * np.sqrt(1 / tail + 1 / max(width, 1))
    drop = max(0.0, max(untrained, float(np.median(values[:2]))) - low)
    limit = low + max(rise * abs(low), DROP_SHARE * drop, STANDARD_ERRORS * error)
    above = np.flatnonzero(~((level > limit) & (np.arange(n) > low_at)))
    return Departure(low_at, low, end, limit, min(int(above[-1]) + 1, n - 1), tail)


def rises(values: curves.Values, gone: Departure) -> bool:
    """Whether validation rises since its minimum, or has leapt to above the limit at once, and does not come down."""
    since = values[gone.low_at :]
    later = since[1:]
    if len(later) >= POINTS_THAT_STAND and later.min() > gone.limit and later[-1] > later.min():
        return True
    if len(since) <= POINTS_SINCE_MINIMUM or not (values[-gone.tail :] > gone.limit).mean() > 0.5:
        return False
    _, thinned = curves.blocks(np.arange(len(since)), since, 100)
    return curves.trend(thinned) > RISING


def training_at(train: losses.LossCurve, val: losses.LossCurve, gone: Departure) -> tuple[float, float]:
    """The training loss when validation was lowest, and at the end."""
    at = aligned(train, val)
    width = max(3, len(train) // 20)
    then = int(at[gone.low_at])
    around = train.values[max(0, then - width // 2) : then + width // 2 + 1]
    return float(np.median(around)), float(np.median(train.values[-width:]))


def aligned(train: losses.LossCurve, val: losses.LossCurve) -> NDArray[np.int64]:
    """For each point of validation the index of the training point that goes with it.

    By step where both count the same thing, else by wall time, else by the share of the way.
    """
    last = len(train) - 1
    if 0.5 * train.steps[-1] <= val.steps[-1] <= 1.1 * train.steps[-1] + 1:
        return np.clip(np.searchsorted(train.steps, val.steps), 0, last)
    if train.walls[-1] > train.walls[0] and val.walls[-1] > val.walls[0]:
        return np.clip(np.searchsorted(train.walls, val.walls), 0, last)
    return np.linspace(0, last, len(val)).astype(np.int64)
