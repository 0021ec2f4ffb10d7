"""A record in the making: readings by row, brought to the host once, pooled into one float32 table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.record.reduce import FIELDS, ZEROS, Reading
from tb_nnhealth.record.reduce_transfer import Transfer

Table = NDArray[np.float32]
_COLUMN = {name: i for i, name in enumerate(schema.STATISTICS)}
_PLACES = [
    _COLUMN[name]
    for name in (
        schema.MEAN, schema.STD, schema.RMS, schema.MIN, schema.MAX,
        schema.ZERO_SHARE, schema.NAN_COUNT, schema.INF_COUNT,
    )
]  # fmt: skip
"""Columns of the FIELDS of a reading."""
_FLOAT32_MAX = float(np.finfo(np.float32).max)


class Record:
    """Readings of one measured step. Several readings of one row are pooled, weighted by their elements."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._readings: list[Reading] = []
        self._blocks: list[tuple[list[int], list[int], NDArray[np.float64]]] = []
        self._shares: list[tuple[int, str, Any, float]] = []
        self._columns: list[tuple[list[int], str, Any]] = []
        self._histograms: dict[int, Any] = {}
        self._gates: list[tuple[Any, list[int]]] = []
        self._listeners: list[Callable[[Table], None]] = []

    def add(self, row: int, reading: Reading) -> None:
        self._rows.append(row)
        self._readings.append(reading)

    def add_many(self, rows: list[int], numel: list[int], values: NDArray[np.float64]) -> None:
        """Readings on the host of ``rows``: ``values`` of shape (rows, FIELDS)."""
        self._blocks.append((rows, numel, values))

    def share(self, row: int, statistic: str, value: Any, weight: float = 1.0) -> None:
        """A column that is not one of a reading: a number or a 0-d tensor; several are averaged by weight."""
        self._shares.append((row, statistic, value, weight))

    def share_many(self, rows: list[int], statistic: str, values: Any) -> None:
        """The same for several rows at once, which are not pooled; ``values`` is an array or tensor, shape (rows,)."""
        self._columns.append((rows, statistic, values))

    def histogram(self, row: int, counts: Any) -> None:
        self._histograms[row] = counts if row not in self._histograms else self._histograms[row] + counts

    def histogram_many(self, rows: list[int], counts: NDArray[np.int64]) -> None:
        """Histograms of several rows at once, shape (rows, ``schema.HISTOGRAM_BINS``), which are not pooled."""
        self._histograms.update(zip(rows, counts, strict=True))

    def skip_if(self, flag: Any, rows: list[int]) -> None:
        """Leaves ``rows`` unmeasured where the 0-d tensor ``flag`` turns out to be non-zero."""
        self._gates.append((flag, rows))

    def when_made(self, listener: Callable[[Table], None]) -> None:
        """Has ``listener`` told of the table, on the thread that makes it."""
        self._listeners.append(listener)

    @property
    def size(self) -> int:
        """Bytes that the readings hold, about."""
        return 256 * (
            len(self._readings) + sum(len(rows) for rows, _, _ in self._blocks) + len(self._shares)
        ) + 8 * sum(len(rows) for rows, _, _ in self._columns)

    @property
    def histogram_size(self) -> int:
        return 8 * schema.HISTOGRAM_BINS * len(self._histograms)

    @property
    def has_histograms(self) -> bool:
        return bool(self._histograms)

    def stats(self, rows: int) -> Callable[[], Table]:
        """A callable, for the writer's thread, that gives the table of shape (rows, columns of the schema)."""
        values = Transfer(
            [reading.values for reading in self._readings],
            [value for _, _, value, _ in self._shares],
            [flag for flag, _ in self._gates],
            [values for _, _, values in self._columns],
        )
        numel = [reading.numel for reading in self._readings]
        index, blocks, shares, gates = self._rows, self._blocks, self._shares, self._gates
        columns, listeners = self._columns, self._listeners

        def table() -> Table:
            read, share_values, flags, column_values = values.fetch()
            readings = np.concatenate([read.reshape(-1, len(FIELDS)), *(block for _, _, block in blocks)])
            all_rows, all_numel = index.copy(), numel.copy()
            for block_rows, block_numel, _ in blocks:
                all_rows += block_rows
                all_numel += block_numel
            result = pool(rows, np.array(all_rows, np.int64), np.array(all_numel, np.float64), readings)
            _put_shares(result, shares, share_values)
            start = 0
            for column_rows, statistic, _ in columns:
                end = start + len(column_rows)
                result[column_rows, _COLUMN[statistic]] = column_values[start:end]
                start = end
            for flag, (_, gated) in zip(flags, gates, strict=True):
                if flag != 0:
                    result[gated] = np.nan
            for listener in listeners:
                listener(result)
            return result

        return table

    def histograms(self, rows: int) -> Callable[[], NDArray[np.int32]]:
        """A callable that gives the counts of shape (rows, ``schema.HISTOGRAM_BINS``), zero where not counted."""
        index = list(self._histograms)
        values = Transfer(list(self._histograms.values()))

        def counts() -> NDArray[np.int32]:
            result = np.zeros((rows, schema.HISTOGRAM_BINS), np.int32)
            (fetched,) = values.fetch()
            result[index] = np.minimum(fetched.reshape(len(index), -1), np.iinfo(np.int32).max)
            return result

        return counts


def pool(rows: int, index: NDArray[np.int64], numel: NDArray[np.float64], readings: NDArray[np.float64]) -> Table:
    """The table of readings (k, 8) that belong to the rows ``index`` (k,): moments pooled as those of one tensor."""
    readings = np.clip(readings, -_FLOAT32_MAX, _FLOAT32_MAX)
    mean, std, rms, low, high, zeros, nan, inf = readings.T
    finite = numel - nan - inf
    if len(set(index.tolist())) == len(index):  # as a rule: every module is called once
        table = np.full((rows, len(schema.STATISTICS)), np.nan, np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            readings[:, ZEROS] = zeros / finite
        table[index[:, None], _PLACES] = readings
        return table
    mean, std, rms = (np.where(finite > 0, x, 0.0) for x in (mean, std, rms))

    def total(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(index, weights=x, minlength=rows).astype(np.float64)

    count = total(finite)
    result = np.full((rows, len(schema.STATISTICS)), np.nan, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = total(finite * mean) / count
        variance = total(finite * (std**2 + (mean - pooled[index]) ** 2)) / count
        result[:, _COLUMN[schema.MEAN]] = pooled
        result[:, _COLUMN[schema.STD]] = np.sqrt(variance)
        result[:, _COLUMN[schema.RMS]] = np.sqrt(total(finite * rms**2) / count)
        result[:, _COLUMN[schema.ZERO_SHARE]] = total(zeros) / count
    least, most = np.full(rows, np.inf), np.full(rows, -np.inf)
    np.minimum.at(least, index, np.where(finite > 0, low, np.inf))
    np.maximum.at(most, index, np.where(finite > 0, high, -np.inf))
    result[:, _COLUMN[schema.MIN]] = np.where(count > 0, least, np.nan)
    result[:, _COLUMN[schema.MAX]] = np.where(count > 0, most, np.nan)
    measured = total(numel) > 0
    result[:, _COLUMN[schema.NAN_COUNT]] = np.where(measured, total(nan), np.nan)
    result[:, _COLUMN[schema.INF_COUNT]] = np.where(measured, total(inf), np.nan)
    return np.clip(result, -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32)


def _put_shares(result: Table, shares: list[tuple[int, str, Any, float]], values: NDArray[np.float64]) -> None:
    sums: dict[tuple[int, int], tuple[float, float]] = {}
    for (row, statistic, _, weight), value in zip(shares, values, strict=True):
        key = row, _COLUMN[statistic]
        total, weights = sums.get(key, (0.0, 0.0))
        sums[key] = total + weight * value, weights + weight
    for key, (total, weights) in sums.items():
        result[key] = total / weights
