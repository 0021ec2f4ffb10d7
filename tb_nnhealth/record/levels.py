"""Coarser records: the minimum, maximum and mean of what the records of a watch held.

TensorBoard keeps a sample of a long run's records. A spike of one step between them would be lost, but not from a
record that stands for 16, 256 or 4096 steps with their minimum and maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema

Floats = NDArray[np.float32]
Number = TypeVar("Number", np.float32, np.float64, np.int64)


class Levels:
    """The coarser levels of one watch. NaN is "not measured": skipped, and kept only where all values are NaN."""

    def __init__(self) -> None:
        self._records: list[Floats] = []
        self._levels: list[list[_Span]] = [[] for _ in range(schema.LEVELS - 2)]

    def add(self, values: Floats) -> list[tuple[int, Floats]]:
        """Takes in a record, float32 of shape (rows, columns).

        Returns the coarser records that it completes, as (level, planes): float32 of shape (3, rows, columns), in the
        order of ``schema.LEVEL_PLANES``. The mean is over all values measured, not over the means of the level below.
        """
        self._records.append(values)
        if len(self._records) < schema.LEVEL_FACTOR:
            return []
        span = _Span.of_records(self._records)
        completed = [(1, span.planes())]
        self._records = []
        for level, spans in enumerate(self._levels, start=2):
            spans.append(span)
            if len(spans) < schema.LEVEL_FACTOR:
                break
            span = _Span.of_spans(spans)
            completed.append((level, span.planes()))
            spans.clear()
        return completed


class _Span(NamedTuple):
    """Minimum, maximum, sum and count over some records."""

    low: Floats
    high: Floats
    total: NDArray[np.float64]
    measured: NDArray[np.int64]

    @classmethod
    def of_records(cls, records: Sequence[Floats]) -> _Span:
        values = _stacked(records, np.nan)
        measured = ~np.isnan(values)
        with np.errstate(invalid="ignore"):
            total = np.add.reduce(values, 0, np.float64, where=measured)
            return cls(np.fmin.reduce(values), np.fmax.reduce(values), total, np.add.reduce(measured, 0, np.int64))

    @classmethod
    def of_spans(cls, spans: Sequence[_Span]) -> _Span:
        low, high, total, measured = zip(*spans, strict=True)
        with np.errstate(invalid="ignore"):
            return cls(
                np.fmin.reduce(_stacked(low, np.nan)),
                np.fmax.reduce(_stacked(high, np.nan)),
                np.add.reduce(_stacked(total, 0)),
                np.add.reduce(_stacked(measured, 0)),
            )

    def planes(self) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            mean = np.where(self.measured > 0, self.total / self.measured, np.nan)
            return np.stack([self.low, self.high, mean.astype(np.float32)]).astype(np.float32)


def _stacked(tables: Sequence[NDArray[Number]], fill: float) -> NDArray[Number]:
    """Tables one upon the other, the smaller ones in the upper left corner: rows are only ever appended."""
    shapes: set[tuple[int, ...]] = {table.shape for table in tables}
    if len(shapes) == 1:
        return np.stack(tables)
    stacked = np.full((len(tables), *np.max(list(shapes), axis=0)), fill, tables[0].dtype)
    for place, table in zip(stacked, tables, strict=True):
        place[: table.shape[0], : table.shape[1]] = table
    return stacked
