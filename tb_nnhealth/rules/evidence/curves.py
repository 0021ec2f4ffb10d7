"""Statistics of noisy curves that a few wild points cannot move: level, noise, smoothing, trend.

Curves are pairs of float64 or int64 arrays of shape (n,): steps and values. Nothing here knows what is measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

SIGMA_OF_MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
ERROR_OF_MEDIAN = 1.2533
"""Standard error of a median over that of a mean, for normal noise: sqrt(pi / 2)."""


@dataclass(frozen=True)
class Level:
    """Where a stretch of a curve lies: its median, with the standard error of that."""

    value: float
    error: float


def medians(values: Values) -> Values:
    """The median along the last axis, which must not be empty; NaN where there is one.

    ``np.median`` gives the same numbers; over as few as curves have it takes several times as long.
    """
    ordered, count = np.sort(values, axis=-1), values.shape[-1]  # NaN last
    middle = (ordered[..., (count - 1) // 2] + ordered[..., count // 2]) / 2
    return np.where(np.isnan(ordered[..., -1]), np.nan, middle)


def median(values: Values) -> float:
    """The median of ``values``, shape (n,), n > 0."""
    return float(medians(values))


def sigma(values: Values) -> float:
    """Robust standard deviation (MAD), 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    return SIGMA_OF_MAD * median(np.abs(values - median(values)))


def noise(values: Values) -> float:
    """Standard deviation of the noise of a curve from point to point, whatever slow trend it follows.

    From the differences of neighbours, which a trend moves little: MAD of the differences / sqrt(2).
    """
    return sigma(np.diff(values)) / math.sqrt(2)


def level(values: Values, noise_sigma: float) -> Level:
    """The level of ``values`` whose points carry noise of ``noise_sigma``."""
    scale = ERROR_OF_MEDIAN if len(values) > 2 else 1.0
    return Level(median(values), scale * noise_sigma / math.sqrt(len(values)))


def blocks(steps: NDArray[np.int64], values: Values, count: int) -> tuple[NDArray[np.int64], Values]:
    """At most ``count`` medians of neighbouring points, each at the first step of its block."""
    if len(values) <= count:
        return steps, values
    edges = np.linspace(0, len(values), count + 1).astype(np.int64)
    lengths, levels = np.diff(edges), np.empty(count)
    for length in np.unique(lengths):  # two at most: all blocks of a length at once
        these = np.flatnonzero(lengths == length)
        levels[these] = medians(values[edges[these, None] + np.arange(length)])
    return steps[edges[:-1]], levels


def smooth(values: Values, width: int) -> Values:
    """Running median over ``width`` points (made odd), narrower at the ends so that it never leaves the curve."""
    half = min(width, len(values)) // 2
    if half < 1:
        return values
    padded = np.concatenate((np.full(half, np.nan), values, np.full(half, np.nan)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    if len(values) <= 2 * half or np.isnan(values).any():
        return np.asarray(np.nanmedian(windows, axis=1))
    narrow = np.sort(np.concatenate((windows[:half], windows[-half:])), axis=1)  # NaN last
    counts, rows = half + 1 + np.arange(half), np.arange(2 * half)
    counts = np.concatenate((counts, counts[::-1]))
    ends = (narrow[rows, (counts - 1) // 2] + narrow[rows, counts // 2]) / 2
    # nanmedian takes ten times as long for the same numbers.
    return np.concatenate((ends[:half], np.partition(windows[half:-half], half, axis=1)[:, half], ends[half:]))


def trend(values: Values) -> float:
    """Mann-Kendall's z: how many sigmas the order of ``values`` departs from no trend; below 0 they fall.

    Quadratic in the number of values: give it at most some hundred (``blocks``). 0 for fewer than
    four, or where all are equal. Source: H. B. Mann, Econometrica 13 (1945) 245; ties as in
    M. G. Kendall, Rank Correlation Methods.
    """
    n = len(values)
    if n < 4:
        return 0.0
    later = np.triu(np.sign(values[None, :] - values[:, None]), 1)
    score = float(later.sum())
    _, ties = np.unique(values, return_counts=True)
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    if variance <= 0 or score == 0:
        return 0.0
    return (score - math.copysign(1, score)) / math.sqrt(variance)
