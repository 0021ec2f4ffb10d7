"""How far a curve swings beyond what its independent noise explains, and in what rhythm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tb_nnhealth.rules.evidence import curves

SHUFFLES = 20
SMOOTHED_OVER = 40
"""Smoothing takes in this part of the stretch, at least five points: what is left are slow swings."""
FEWEST = 24


@dataclass(frozen=True)
class Swings:
    """``slow``: from the 10th to the 90th percentile of the smoothed stretch; ``shuffled``: the most that the same
    values gave in any other order; ``raw``: the same percentiles without smoothing; ``neighbours``: correlation of a
    point with the next; ``later``: with that of one width of the smoothing later; ``period``: points after which the
    stretch repeats itself, 0 where it does not.
    """

    slow: float
    shuffled: float
    raw: float
    neighbours: float
    later: float
    period: int


def swings(values: curves.Values) -> Swings:
    """Swings of ``values``, float64 of shape (n,), n >= ``FEWEST``, from which a trend has been taken away.

    ``shuffled`` makes no assumption on the noise's distribution: a permutation keeps it and breaks only what hangs
    together in time. Seeded, so that the same curve gives the same answer.
    """
    width = max(5, len(values) // SMOOTHED_OVER)
    rng = np.random.default_rng(0)
    others = [_spread(curves.smooth(rng.permutation(values), width)) for _ in range(SHUFFLES)]
    correlation = _autocorrelation(values)
    return Swings(
        slow=_spread(curves.smooth(values, width)),
        shuffled=max(others),
        raw=_spread(values),
        neighbours=float(correlation[1]),
        later=float(correlation[min(width, len(correlation) - 1)]),
        period=_period(correlation),
    )


def _spread(values: curves.Values) -> float:
    low, high = np.percentile(values, (10, 90))
    return float(high - low)


def _autocorrelation(values: curves.Values) -> curves.Values:
    """At distances 0 to n // 3, of the values' ranks: a few wild points do not decide it."""
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64)
    ranks -= ranks.mean()
    total = float((ranks**2).sum())
    if total == 0:
        return np.zeros(len(values) // 3 + 1)
    return np.array([float((ranks[: len(ranks) - k] * ranks[k:]).sum()) / total for k in range(len(ranks) // 3 + 1)])


def _period(correlation: curves.Values) -> int:
    """The distance of a clear peak that returns at twice the distance and sinks between, 0 where there is none."""
    for k in range(3, len(correlation) // 2):
        window = correlation[max(2, k - 2) : k + 3]
        between = correlation[k // 3 : k].min()
        if correlation[k] == window.max() and correlation[k] > 0.4 and correlation[2 * k] > 0.3 and between < 0.1:
            return k
    return 0
