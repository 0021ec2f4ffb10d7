"""The bounded columns in which a history keeps what arrives: numbers, tables, and the log that thins them."""

from __future__ import annotations

from array import array
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Places = NDArray[np.int64]
Chosen = Places | slice

PINS_KEPT = 64
"""Pinned entries that are never thinned; later ones are entries like any other."""


class Numbers(array):  # type: ignore[type-arg]
    """A column of int64 ("q") or float64 ("d") numbers, eight bytes each."""

    __slots__ = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Numbers:
        return Numbers(self.typecode, self.tobytes())  # array's own gives an array

    def extend_from(self, values: NDArray[Any], chosen: Chosen) -> None:
        self.frombytes(values[chosen].tobytes())

    def keep(self, kept: Places) -> None:
        self[:] = array(self.typecode, np.asarray(self)[kept].tobytes())


class Counts(list[NDArray[np.int32]]):
    """A column of histogram records, which may differ in their number of rows."""

    def extend_from(self, values: NDArray[np.int32], chosen: Chosen) -> None:
        self.extend(counts.copy() for counts in values[chosen])  # a view would hold the memory of all

    def keep(self, kept: Places) -> None:
        self[:] = [self[i] for i in kept]


class Tables:
    """A column of records, stacked in one float32 buffer that grows; NaN where a record was smaller than others.

    Many that came together wait as they are until they are looked at, so that a log read at once is stacked once.
    """

    def __init__(self) -> None:
        self._buffer: Floats = np.empty((0, 0, 0), np.float32)
        self._length = 0
        self._waiting: list[Floats] = []

    def append(self, values: Floats) -> None:
        self._stack(values[None])

    def extend_from(self, values: Floats, chosen: Chosen) -> None:
        self._waiting.append(values[chosen])

    def pop(self) -> None:
        self._settle()
        self._length -= 1

    def keep(self, kept: Places) -> None:
        self._settle()
        thinned = _by_column(len(kept), *self._buffer.shape[1:])
        thinned[:] = self._buffer[kept]
        self._buffer, self._length = thinned, len(kept)

    def reserve(self, rows: int, columns: int) -> None:
        """Sees to it that records are at least so large, with NaN where they were smaller."""
        self._settle()
        self._grow(0, rows, columns)

    @property
    def nbytes(self) -> int:
        return self._buffer.nbytes + sum(values.nbytes for values in self._waiting)

    @property
    def stacked(self) -> Floats:
        """float32 (records, rows, columns): a view, valid until the next change."""
        self._settle()
        return self._buffer[: self._length]

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, []
        if len(waiting) > 1:
            rows, columns = (max(values.shape[axis] for values in waiting) for axis in (1, 2))
            self._grow(sum(map(len, waiting)), rows, columns)
        for values in waiting:
            self._stack(values)

    def _stack(self, values: Floats) -> None:
        if self._waiting:
            self._settle()
        count, rows, columns = values.shape
        self._grow(count, rows, columns)
        places = self._buffer[self._length : self._length + count]
        places[:, rows:] = np.nan
        places[:, :, columns:] = np.nan
        places[:, :rows, :columns] = values
        self._length += count

    def _grow(self, count: int, rows: int, columns: int) -> None:
        """Makes room for ``count`` more records, and for records that large."""
        old, n = self._buffer, self._length
        room, old_rows, old_columns = old.shape
        if n + count <= room and rows <= old_rows and columns <= old_columns:
            return
        if n + count > room:
            room = max(n + count, 2 * n + 16)
        self._buffer = _by_column(room, max(rows, old_rows), max(columns, old_columns))
        if self._buffer.shape[1:] != old.shape[1:]:
            self._buffer[:n] = np.nan
        self._buffer[:n, :old_rows, :old_columns] = old[:n]


def _by_column(records: int, rows: int, columns: int) -> Floats:
    """Room for tables, (records, rows, columns), in which each column lies together: it is read as a whole."""
    return np.moveaxis(np.empty((columns, records, rows), np.float32), 0, 2)


class Column(Protocol):
    """Values of a log, one for each entry."""

    def append(self, value: Any, /) -> None: ...
    def extend_from(self, values: Any, chosen: Chosen, /) -> None:
        """Appends ``values[chosen]``."""

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

    def extend(
        self,
        steps: NDArray[np.int64],
        walls: NDArray[np.float64],
        values: NDArray[Any],
        pinned: NDArray[np.bool_] | None = None,
    ) -> None:
        """Appends many entries, ``values`` along their first axis: the same as to append one after the other."""
        falls = np.flatnonzero(steps[1:] <= steps[:-1]) + 1
        begin = 0
        for end in (*falls.tolist(), len(steps)):
            if begin < end and len(self.steps) and steps[begin] <= self.steps[-1]:
                self.rewind(int(steps[begin]))
            while begin < end:
                some = slice(begin, end)
                begin += self._extend(steps[some], walls[some], values[some], None if pinned is None else pinned[some])

    def _extend(
        self,
        steps: NDArray[np.int64],
        walls: NDArray[np.float64],
        values: NDArray[Any],
        pinned: NDArray[np.bool_] | None,
    ) -> int:
        """Appends entries of increasing steps up to the first that makes it thin itself; returns their number."""
        count, pins = len(steps), np.empty(0, np.int64)
        chosen: Chosen = slice(None)
        if pinned is not None:
            pins = np.flatnonzero(pinned)[: PINS_KEPT - len(self._pins)]
        full = len(self.steps) + count > self.capacity
        if self.stride > 1 or full:
            if self.stride > 1 and not self._kept(self._next - 1) and len(self.steps):
                self._drop_last()
            count, chosen, full = self._choose(count, pins)
        for column, added in ((self.steps, steps), (self.walls, walls), (self.values, values)):
            column.extend_from(added, chosen)
        self._pins += (self._next + pins[pins < count]).tolist()
        self._next += count
        self.changes += count
        if full:
            self._thin()
        return count

    def _choose(self, count: int, pins: Places) -> tuple[int, Chosen, bool]:
        """Of the next ``count`` entries, those up to the first that makes the log too long, and if there is one.

        Returns how many these are, and the places of those to be kept: the newest, and those that stride and pins keep.
        """
        room = max(0, self.capacity - len(self.steps))
        if self.stride == 1:
            return min(count, room + 1), slice(room + 1), room < count
        kept = _together(self._regular(self._next, self._next + count) - self._next, pins)
        last = -1 if room == 0 else int(kept[room - 1]) if room <= len(kept) else count
        full = last + 1 < count  # what comes behind the last that has room is too much, be it kept or only the newest
        count = min(count, last + 2)
        kept = kept[kept < count]
        return count, _together(kept, np.array([count - 1])), full

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
        return _together(_together(self._regular(0, newest), np.array(self._pins, np.int64)), np.array([newest]))

    def _regular(self, begin: int, end: int) -> Places:
        """The ordinals from ``begin`` to ``end`` that the opening and the stride keep."""
        later = max(begin, self.opening)
        strided = np.arange(later + -later % self.stride, end, self.stride)
        return np.concatenate([np.arange(begin, min(end, self.opening)), strided])

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


def _together(some: Places, more: Places) -> Places:
    """The numbers of both, each increasing, in increasing order."""
    if len(some) and len(more) and some[-1] >= more[0]:
        return np.unique(np.concatenate([some, more]))
    return np.concatenate([some, more]) if len(more) else some
