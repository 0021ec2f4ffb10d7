"""A noisy series as a line to read: moving average and noise band over the points of a chart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
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
    spike widens it. NaN where the window holds no value; a noise of 0 where it holds no two.
    """
    finite = np.isfinite(values)
    value, at = values[finite], column[finite]
    width = max(int(count * WINDOW_SHARE), -(-VALUES_LEAST * count // max(1, len(value)))) | 1
    number = np.bincount(at, minlength=count).astype(np.float64)
    scale = float(np.max(np.abs(value), initial=0.0)) or 1.0
    total = np.bincount(at, weights=value / scale, minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = scale * (_windows(total, width, 0.0).sum(axis=1) / _windows(number, width, 0.0).sum(axis=1))
    jumps = _medians(np.abs(np.diff(value)), at[1:], count)
    sigma = _NORMAL_MAD / np.sqrt(2) * _nanmedian(_windows(jumps, width, np.nan))
    return mean, np.where(np.isnan(mean), np.nan, np.nan_to_num(sigma))


def _windows(points: NDArray[Any], width: int, edge: float) -> Doubles:
    """The ``width`` points around each one, shape (points, width)."""
    return np.asarray(sliding_window_view(np.pad(points, width // 2, constant_values=edge), width))


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
    found = np.full(len(windows), np.nan)
    filled = ~np.isnan(windows).all(axis=1)
    if filled.any():
        found[filled] = np.nanmedian(windows[filled], axis=1)
    return found
