"""How far a loss has come down from its start, and how much of that is noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tb_nnhealth.rules.evidence import curves

SIGNIFICANT = 3.0
FALLING = -4.0
"""Mann-Kendall's z below which a curve is called falling."""
LUCKY = 1.9
"""Standard errors by which the lowest of twenty medians lies below their level by chance."""


@dataclass(frozen=True)
class Gain:
    """``value``: fall of the loss as a share of the first; ``upper``: the most that the noise leaves possible."""

    value: float
    upper: float
    seen: bool
    """Whether some comparison shows a gain beyond the noise and beyond what is asked for."""
    falling: bool
    rising: bool
    first: float
    last: float
    """Median of the last two thirds."""
    lowest: float
    """Lowest median of a twentieth, anywhere."""
    luck: float
    """How far below the level that one lies by chance."""
    now: float
    """Median of the last fifth, and two standard errors more."""
    noise: float


def measure(values: curves.Values, asked: float) -> Gain:
    """How far ``values``, float64 of shape (n,), n ≥ 9, fell from the start; ``asked``: least gain that counts."""
    n = len(values)
    noise = curves.noise(values)
    later = [curves.level(part, noise) for part in (values[n // 3 : 2 * n // 3], values[2 * n // 3 :])]
    best = min(later, key=lambda level: level.value)
    scale = max(abs(float(np.median(values[:3]))), noise, 1e-12)
    seen = False
    for count in sorted({1, 3, 10, n // 10, n // 3}):
        if 0 < count <= n // 3:
            start = curves.level(values[:count], noise)
            error = math.hypot(start.error, best.error)
            seen |= start.value - best.value > max(SIGNIFICANT * error, asked * scale)
    width = max(5, n // 20)
    _, parts = curves.blocks(np.arange(n), values, n // width)
    lowest = float(parts.min())
    opening = curves.level(values[:3], noise)
    seen |= opening.value - lowest > max((SIGNIFICANT + 1) * opening.error, 2 * asked * scale)
    start = curves.level(values[: n // 3], noise)
    error = math.hypot(start.error, best.error)
    gain = (start.value - best.value) / scale
    _, tail = curves.blocks(np.arange(n - n // 5), values[n // 5 :], 80)
    end = curves.level(values[-max(3, n // 5) :], noise)
    return Gain(
        value=gain,
        upper=gain + 2 * error / scale,
        seen=seen,
        falling=curves.trend(tail) < FALLING,
        rising=curves.trend(tail) > -FALLING,
        first=float(np.median(values[:3])),
        last=float(np.median(values[n // 3 :])),
        lowest=lowest,
        luck=LUCKY * curves.ERROR_OF_MEDIAN * noise / math.sqrt(width),
        now=end.value + 2 * end.error,
        noise=noise,
    )
