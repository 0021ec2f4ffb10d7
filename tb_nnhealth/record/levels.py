"""Coarser records: the minimum, maximum and mean of what the records of a watch held.

TensorBoard keeps a sample of a long run's records. A spike of one step between them would be lost, but not from a
record that stands for 16, 256 or 4096 steps with their minimum and maximum.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema

Floats = NDArray[np.float32]
Number = TypeVar("Number", np.float32, np.float64, np.int64)


class Levels:
    """The coarser levels of one watch. NaN is "not measured": skipped, and kept only where all values are NaN."""

    def __init__(self) -> None:
        self._levels = [_Span() for _ in range(schema.LEVELS - 1)]

    def add(self, values: Floats) -> list[tuple[int, Floats]]:
        """Takes in a record, float32 of shape (rows, columns).

        Returns the coarser records that it completes, as (level, planes): float32 of shape (3, rows, columns), in the
        order of ``schema.LEVEL_PLANES``. The mean is over all values measured, not over the means of the level below.
        """
        completed: list[tuple[int, Floats]] = []
        span = _Span()
        span.add(values)
        for level, coarser in enumerate(self._levels, start=1):
            coarser.merge(span)
            if coarser.parts < schema.LEVEL_FACTOR:
                break
            completed.append((level, coarser.planes()))
            span, self._levels[level - 1] = coarser, _Span()
        return completed


class _Span:
    """Minimum, maximum, sum and count over some records."""

    def __init__(self) -> None:
        self.parts = 0
        self.low: Floats = np.empty((0, 0), np.float32)
        self.high: Floats = np.empty((0, 0), np.float32)
        self.total: NDArray[np.float64] = np.empty((0, 0), np.float64)
        self.count: NDArray[np.int64] = np.empty((0, 0), np.int64)

    def add(self, values: Floats) -> None:
        measured = ~np.isnan(values)
        self.low = self.high = values
        self.total = np.where(measured, values, 0.0).astype(np.float64)
        self.count = measured.astype(np.int64)

    def merge(self, other: _Span) -> None:
        shape = np.maximum(self.low.shape, other.low.shape)
        with np.errstate(invalid="ignore"):
            self.low = np.fmin(_grown(self.low, shape, np.nan), _grown(other.low, shape, np.nan))
            self.high = np.fmax(_grown(self.high, shape, np.nan), _grown(other.high, shape, np.nan))
            self.total = _grown(self.total, shape, 0) + _grown(other.total, shape, 0)
        self.count = _grown(self.count, shape, 0) + _grown(other.count, shape, 0)
        self.parts += 1

    def planes(self) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            mean = np.where(self.count > 0, self.total / self.count, np.nan)
            return np.stack([self.low, self.high, mean.astype(np.float32)]).astype(np.float32)


def _grown(array: NDArray[Number], shape: NDArray[np.int64], fill: float) -> NDArray[Number]:
    """``array`` in the upper left corner of ``shape``: rows are only ever appended."""
    if array.shape == tuple(shape):
        return array
    grown = np.full(tuple(shape), fill, array.dtype)
    grown[: array.shape[0], : array.shape[1]] = array
    return grown
