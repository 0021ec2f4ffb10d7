"""A noisy series as a line to read: moving average and noise band over the points of a chart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.plugin.reduce import Doubles

WINDOW_SHARE = 1 / 40
"""Of the points drawn, the share that one average spans."""
VALUES_LEAST = 5
"""Of the values in the series, the fewest that one average spans."""
_NORMAL_MAD = 1.4826
"""Standard deviation over median absolute deviation, for normal noise."""


def smoothed(values: Doubles, column: NDArray[np.intp], count: int) -> tuple[Doubles, Doubles]:
    """Moving average and standard deviation of the noise at each of ``count`` points, float64.

    ``values`` (n,) are the series in full, NaN where not finite; ``column`` (n,) is each value's point,
    ascending. The average is centred and weights every value alike. The noise is taken from the
    differences between neighbouring values (their median, over √2), so that neither a trend nor a single
    spike widens it. NaN at points that hold no finite value; a noise of 0 where the window holds no two.
    """
    finite = np.isfinite(values)
    value, at = values[finite], column[finite]
    width = max(int(count * WINDOW_SHARE), -(-VALUES_LEAST * count // max(1, len(value)))) | 1
    number = np.bincount(at, minlength=count).astype(np.float64)
    scale = float(np.max(np.abs(value), initial=0.0)) or 1.0
    total = np.bincount(at, weights=value / scale, minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(number > 0, scale * (_sums(total, width) / _sums(number, width)), np.nan)
    jumps = _medians(np.abs(np.diff(value)), at[1:], count)
    sigma = _NORMAL_MAD / np.sqrt(2) * _nanmedian(_windows(jumps, width))
    return mean, np.where(np.isnan(mean), np.nan, np.nan_to_num(sigma))


def _sums(points: NDArray[Any], width: int) -> Doubles:
    """The sum of the ``width`` points around each one; beyond the ends there are none."""
    return np.asarray(np.convolve(points, np.ones(width))[width // 2 :][: len(points)])


def _windows(points: Doubles, width: int) -> Doubles:
    """The ``width`` points around each one, shape (points, width), NaN beyond the ends."""
    padded = np.full(len(points) + width - 1, np.nan)
    padded[width // 2 :][: len(points)] = points
    return np.asarray(padded[np.arange(len(points))[:, None] + np.arange(width)])


def _medians(values: Doubles, column: NDArray[np.intp], count: int) -> Doubles:
    """Median of the values of each column, NaN for an empty one."""
    order = np.lexsort((values, column))
    ranked = values[order]
    edges = np.searchsorted(column, np.arange(count + 1))
    first, last = edges[:-1], edges[1:]
    found = np.full(count, np.nan)
    filled = last > first
    middle = (first + last - 1) / 2
    below, above = np.floor(middle[filled]).astype(int), np.ceil(middle[filled]).astype(int)
    found[filled] = (ranked[below] + ranked[above]) / 2
    return found


def _nanmedian(windows: Doubles) -> Doubles:
    """Median of each window, NaN aside; NaN where there is nothing else.

    ``np.nanmedian`` gives the same numbers; over windows as small as these it takes several times as long.
    """
    ordered = np.sort(windows, axis=1)  # NaN last
    measured = (~np.isnan(ordered)).sum(axis=1)
    row = np.arange(len(windows))
    below, above = np.maximum(measured - 1, 0) // 2, measured // 2
    return np.asarray((ordered[row, below] + ordered[row, above]) / 2)
