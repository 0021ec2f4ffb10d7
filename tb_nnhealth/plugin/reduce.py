"""Many records in few columns, without losing the worst of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.derive import Band, Scale
from tb_nnhealth.history import Steps

Doubles = NDArray[np.float64]

MISSING = -np.inf
"""Distance of a record without a value."""
SETTLED = -1e300
"""Distance of a record to which no band applies: shown only where a column has nothing else."""
_FEW = 1 << 17
"""Elements up to which whole arrays are quicker than a loop over the columns, which reads each only once."""
_ZERO = 1e-45
"""Stands for zero on a logarithmic scale: the smallest float32 above it."""


@dataclass(frozen=True)
class Columns:
    """Consecutive spans of steps, each holding at least one record.

    A column lasts until the next begins, the last one until ``last_step``.
    """

    starts: Steps
    last_step: int

    def __len__(self) -> int:
        return len(self.starts)

    def of(self, steps: Steps) -> NDArray[np.intp]:
        """The column in which each step lies; steps must not precede the first column."""
        return np.searchsorted(self.starts, steps, side="right") - 1

    def spans(self) -> list[list[int]]:
        """First and last step of each column, both ends included."""
        ends = [*(int(start) - 1 for start in self.starts[1:]), self.last_step]
        return [[int(start), end] for start, end in zip(self.starts, ends, strict=True)] if len(self) else []


def columns(recorded: Sequence[Steps], limit: int) -> Columns:
    """At most ``limit`` columns over the records at ``recorded`` steps, one array for each watch or series.

    One column for each record where that is few enough, else columns of equal width in steps;
    those without a record are left out. Watches that record at different steps share columns, so that none
    is striped by the other's records.
    """
    every = [steps for steps in recorded if len(steps)]
    if not every:
        return Columns(np.zeros(0, np.int64), -1)
    union = np.unique(np.concatenate(every))
    count = min(limit, max(len(steps) for steps in every))
    if len(union) <= count:
        return Columns(union, int(union[-1]))
    first, last = int(union[0]), int(union[-1])
    width = (last - first + 1) / count
    place = np.minimum(((union - first) / width).astype(np.int64), count - 1)
    starts = union[np.flatnonzero(np.diff(place, prepend=-1))]
    return Columns(starts, last)


def distance(scale: Scale, values: NDArray[np.floating], band: Band) -> Doubles:
    """How far each value lies outside the healthy ``band``, in units of its scale; negative inside.

    Logarithmic scales measure in decades, "share" from the upper end alone, "symlog" in decades
    of ``1 + |x|``. An infinite value is infinitely far; ``MISSING`` where there is none.
    """
    x = np.asarray(values, np.float64)
    low, high = band
    with np.errstate(all="ignore"):
        if scale == "share":
            outside = x - high
        elif scale == "symlog":
            outside = np.maximum(_symlog(np.float64(low)) - _symlog(x), _symlog(x) - _symlog(np.float64(high)))
        else:
            log = np.log10(np.maximum(x, _ZERO))
            outside = np.maximum(np.log10(max(low, _ZERO)) - log, log - np.log10(max(high, _ZERO)))
    return np.where(np.isnan(x), MISSING, outside)


def _symlog(x: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    return np.asarray(np.sign(x) * np.log10(1 + np.abs(x)), np.float64)


def worst(far: Doubles, column: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Index of the record that is farthest off, for each of ``count`` columns and each series.

    ``far`` has the shape (records, series) and ``column`` names each record's column, ascending. The
    result has the shape (columns, series) and is -1 where no record has a value; of equals the first.
    """
    found = np.full((count, far.shape[1]), -1, np.intp)
    edges = np.searchsorted(column, np.arange(count + 1))
    filled = np.flatnonzero(np.diff(edges))
    if not len(filled):
        return found
    starts, ends = edges[filled], edges[filled + 1]
    if far.size <= _FEW:
        of_any = far[starts[0] : ends[-1]]
        begins = starts - starts[0]
        most = np.repeat(np.maximum.reduceat(of_any, begins), ends - starts, axis=0)
        places = np.arange(len(of_any))[:, None]
        at = starts[0] + np.minimum.reduceat(np.where(of_any == most, places, len(of_any)), begins)
    else:
        at = np.array([far[start:end].argmax(0) for start, end in zip(starts, ends, strict=True)]) + starts[:, None]
    found[filled] = np.where(far[at, np.arange(far.shape[1])] == MISSING, -1, at)
    return found


def extremes(values: NDArray[np.floating], column: NDArray[np.intp], count: int) -> tuple[Doubles, Doubles]:
    """Minimum and maximum of the values, shape (records,), within each column; NaN where there is none."""
    low = np.full(count, np.inf)
    high = np.full(count, -np.inf)
    measured = ~np.isnan(values)
    np.minimum.at(low, column[measured], values[measured])
    np.maximum.at(high, column[measured], values[measured])
    empty = low > high
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def spans(marked: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of each unbroken stretch of ``marked``, shape (n,)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], marked, [False])).astype(np.int8)))
    return [(int(first), int(end) - 1) for first, end in zip(edges[::2], edges[1::2], strict=True)]
