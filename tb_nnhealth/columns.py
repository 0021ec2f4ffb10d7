"""The bounded columns in which a history keeps what arrives: numbers, tables, and the log that thins them."""

from __future__ import annotations

from array import array
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

PINS_KEPT = 64
"""Pinned entries that are never thinned; later ones are entries like any other."""


class Numbers(array):  # type: ignore[type-arg]
    """A column of int64 ("q") or float64 ("d") numbers, eight bytes each."""

    __slots__ = ()

    def keep(self, kept: Places) -> None:
        self[:] = array(self.typecode, np.asarray(self)[kept].tobytes())


class Counts(list[NDArray[np.int32]]):
    """A column of histogram records, which may differ in their number of rows."""

    def keep(self, kept: Places) -> None:
        self[:] = [self[i] for i in kept]


class Tables:
    """A column of records, stacked in one float32 buffer that grows; NaN where a record was smaller than others."""

    def __init__(self) -> None:
        self._buffer: Floats = np.empty((0, 0, 0), np.float32)
        self._length = 0

    def append(self, values: Floats) -> None:
        self.reserve(*values.shape)
        if self._length == len(self._buffer):
            self._move(2 * self._length + 16, *self._buffer.shape[1:])
        place = self._buffer[self._length]
        rows, columns = values.shape
        place[rows:] = np.nan
        place[:, columns:] = np.nan
        place[:rows, :columns] = values
        self._length += 1

    def pop(self) -> None:
        self._length -= 1

    def keep(self, kept: Places) -> None:
        self._buffer, self._length = self._buffer[kept], len(kept)

    def reserve(self, rows: int, columns: int) -> None:
        """Sees to it that records are at least so large, with NaN where they were smaller."""
        length, old_rows, old_columns = self._buffer.shape
        if rows > old_rows or columns > old_columns:
            self._move(length, max(rows, old_rows), max(columns, old_columns))

    def _move(self, *shape: int) -> None:
        old, n = self._buffer, self._length
        self._buffer = np.empty(shape, np.float32)
        if old.shape[1:] != shape[1:]:
            self._buffer[:n] = np.nan
        self._buffer[:n, : old.shape[1], : old.shape[2]] = old[:n]

    @property
    def stacked(self) -> Floats:
        """float32 (records, rows, columns): a view, valid until the next change."""
        return self._buffer[: self._length]


class Column(Protocol):
    """Values of a log, one for each entry."""

    def append(self, value: Any, /) -> None: ...
    def pop(self) -> Any: ...
    def keep(self, kept: Places) -> None:
        """Lets go of all entries but those at the places ``kept``, in increasing order."""


class Log:
    """Append-only columns (steps, wall times, values) that thin themselves deterministically.

    At ``capacity`` every second entry after the opening is let go, and from then on only every
    2nd (4th, 8th, ...) arriving entry is kept, besides the newest and besides the first ``PINS_KEPT`` that the
    caller pins. A step that does not exceed the last one rewinds: all from that step on is
    forgotten, as TensorBoard does when a run is resumed.

    Each entry has an ordinal, counted from 0 as they arrive. None is stored: which ordinals are there follows from
    ``opening``, ``stride``, the pins and the newest.
    """

    def __init__(self, capacity: int, opening: int, values: Column) -> None:
        self.capacity, self.opening = capacity, opening
        self.stride = 1
        self.steps = Numbers("q")
        self.walls = Numbers("d")
        self.values = values
        self._pins: list[int] = []
        self._next = 0
        self.changes = 0

    def append(self, step: int, wall: float, value: Any, *, pinned: bool = False) -> None:
        self.changes += 1
        steps = self.steps
        if steps and step <= steps[-1]:
            self.rewind(step)
        if self.stride > 1 and not self._kept(self._next - 1) and steps:
            self._drop_last()  # the newest entry was only held until the next came
        steps.append(step)
        self.walls.append(wall)
        self.values.append(value)
        if pinned and len(self._pins) < PINS_KEPT:
            self._pins.append(self._next)
        self._next += 1
        if len(steps) > self.capacity:
            self._thin()

    def _kept(self, ordinal: int) -> bool:
        return ordinal < self.opening or ordinal % self.stride == 0 or ordinal in self._pins

    def _thin(self) -> None:
        ordinals = self._ordinals()
        self.stride *= 2
        kept = (ordinals < self.opening) | (ordinals % self.stride == 0) | np.isin(ordinals, self._pins)
        kept[-1] = True
        places = np.flatnonzero(kept)
        for column in (self.steps, self.walls, self.values):
            column.keep(places)

    def _ordinals(self) -> Places:
        newest = self._next - 1
        opening, strided = np.arange(min(self.opening, newest)), np.arange(0, newest, self.stride)
        return np.unique(np.concatenate([opening, strided, np.array([*self._pins, newest], np.int64)]))

    def _drop_last(self) -> None:
        for column in (self.steps, self.walls, self.values):
            column.pop()

    def rewind(self, step: int) -> None:
        self.changes += 1
        while self.steps and self.steps[-1] >= step:
            self._drop_last()
            self._next = self._ordinal_before(self._next - 1) + 1

    def _ordinal_before(self, ordinal: int) -> int:
        """Of the entry before the one of ``ordinal``, which is gone; -1 where there is none."""
        while self._pins and self._pins[-1] >= ordinal:
            self._pins.pop()
        if ordinal <= self.opening:
            return ordinal - 1
        return max((ordinal - 1) // self.stride * self.stride, self.opening - 1, *self._pins[-1:])
