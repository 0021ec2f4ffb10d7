"""A run as the rules and the panel see it: bounded tables of statistics, and scalar series.

Every way into a run (live, from event files, through TensorBoard's DataProvider) feeds the same
``append`` methods in the order of writing, and what they keep depends on nothing but that
sequence. That is why all of them give the same findings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import schema
from tb_nnhealth.columns import Counts, Log, Numbers, Tables

Floats = NDArray[np.float32]
Steps = NDArray[np.int64]

RECORDS_KEPT = 8192
RECORD_BYTES_KEPT = 64 << 20
"""A History thins its middle beyond either; the bound on its memory and on the rules' time."""
OPENING_KEPT = 64
"""First records that are never thinned: initialization and warm-up are judged on them."""
HISTOGRAMS_KEPT = 256
FILTERS_KEPT = 64
POINTS_KEPT = 65536
POINT_BYTES = 24


@dataclass(frozen=True)
class Table:
    """One statistic of one kind over time: ``values[t, i]`` belongs to ``subjects[i]`` at ``steps[t]``.

    float32, NaN where it was not measured.
    """

    subjects: tuple[str, ...]
    steps: Steps
    values: Floats

    def __len__(self) -> int:
        return len(self.subjects)


@dataclass(frozen=True)
class Filters:
    """The first filters of the first convolution at a step.

    ``pixels``: uint8 (filters, planes, height, width); 0 and 255 stand for ``low`` and ``high``, float32 (filters,).
    ``total``: how many filters the convolution has.
    """

    step: int
    parameter: str
    total: int
    pixels: NDArray[np.uint8]
    low: NDArray[np.float32]
    high: NDArray[np.float32]


class History:
    """The records of one watch. ``layout`` is the newest ``messages.Layout``."""

    def __init__(self, layout: Any) -> None:
        self._tables = Tables()
        self._records = Log(RECORDS_KEPT, OPENING_KEPT, self._tables)
        self._counts = Counts()
        self._histograms = Log(HISTOGRAMS_KEPT, 16, self._counts)
        self._non_finite_before = False
        self._filter_changes = 0
        self.filters: list[Filters] = []
        """Of ascending steps, at most ``FILTERS_KEPT``."""
        self.resolution = 1
        """Optimizer records that one record stands for: 1, or 16, 256, ... where only coarser levels were kept."""
        self.layout = layout

    @property
    def layout(self) -> Any:
        return self._layout

    @layout.setter
    def layout(self, layout: Any) -> None:
        self._layout = layout
        self._columns = {name: i for i, name in enumerate(layout.columns)}
        self._rows: dict[str, list[int]] = {}
        for i, row in enumerate(layout.rows):
            self._rows.setdefault(row.kind, []).append(i)
        self._subjects: dict[str, tuple[str, ...]] = {}
        self._indices: dict[str, NDArray[np.intp]] = {}
        self._places: dict[tuple[str, str], int] = {}

    def append(self, step: int, wall: float, values: Floats) -> None:
        """Adds a record: ``values`` float32 of shape (rows, columns), rows a prefix of the layout's."""
        self._records.capacity = max(512, min(RECORDS_KEPT, RECORD_BYTES_KEPT // max(1, values.nbytes)))
        if len(self) and step <= self._records.steps[-1]:
            self._rewind_records(step)
        bad = bool(self._bad(values))
        self._records.append(step, wall, values, pinned=bad and not self._non_finite_before)
        self._non_finite_before = bad

    def extend(self, steps: Steps, walls: NDArray[np.float64], values: Floats) -> None:
        """Adds many records of one shape, ``values`` float32 (records, rows, columns), as ``append`` does each."""
        if not len(steps):
            return
        self._records.capacity = max(512, min(RECORDS_KEPT, RECORD_BYTES_KEPT // max(1, values[0].nbytes)))
        bad = self._bad(values)
        begin = 0
        for end in (*(np.flatnonzero(steps[1:] <= steps[:-1]) + 1).tolist(), len(steps)):
            if len(self) and steps[begin] <= self._records.steps[-1]:
                self._rewind_records(int(steps[begin]))
            some = slice(begin, end)
            pinned = bad[some] & ~np.append(self._non_finite_before, bad[some][:-1])
            self._records.extend(steps[some], walls[some], values[some], pinned)
            self._non_finite_before = bool(bad[end - 1])
            begin = end

    def append_histogram(self, step: int, wall: float, counts: NDArray[np.int32]) -> None:
        """Adds a histogram record: ``counts`` int32 of shape (rows, ``schema.HISTOGRAM_BINS``)."""
        self._histograms.append(step, wall, counts)

    def extend_histograms(self, steps: Steps, walls: NDArray[np.float64], counts: NDArray[np.int32]) -> None:
        """Adds many histogram records of one shape, int32 (records, rows, ``schema.HISTOGRAM_BINS``)."""
        self._histograms.extend(steps, walls, counts)

    def append_filters(self, filters: Filters) -> None:
        self._rewind_filters(filters.step)
        self.filters.append(filters)
        self._filter_changes += 1
        if len(self.filters) > FILTERS_KEPT:  # the first and the newest stay
            del self.filters[1:-1:2]

    def _rewind_filters(self, step: int) -> None:
        kept = [filters for filters in self.filters if filters.step < step]
        self._filter_changes += len(kept) < len(self.filters)
        self.filters = kept

    @property
    def changes(self) -> int:
        """Grows whenever something was appended or forgotten."""
        return self._records.changes + self._histograms.changes + self._filter_changes

    def rewind(self, step: int) -> None:
        """Forgets every record and histogram from ``step`` on: training restarted there."""
        self._rewind_records(step)
        self._histograms.rewind(step)
        self._rewind_filters(step)

    def _rewind_records(self, step: int) -> None:
        self._records.rewind(step)
        self._non_finite_before = bool(len(self)) and bool(self._bad(self._tables.stacked[-1]))

    def _bad(self, values: Floats) -> Any:
        """Whether a record holds a NaN or Inf; of many records, for each."""
        bad = np.zeros(values.shape[:-2], np.bool_)
        for name in (schema.NAN_COUNT, schema.INF_COUNT):
            column = self._columns.get(name, values.shape[-1])
            if column < values.shape[-1]:  # an older record may have fewer columns than the layout
                bad |= (values[..., column] > 0).any(axis=-1)
        return bad

    @property
    def nbytes(self) -> int:
        """Memory of the records and histograms, about."""
        return self._tables.nbytes + sum(counts.nbytes for counts in self._counts)

    def __len__(self) -> int:
        return len(self._records.steps)

    @property
    def steps(self) -> Steps:
        return np.array(self._records.steps, dtype=np.int64)

    @property
    def walls(self) -> NDArray[np.float64]:
        return np.array(self._records.walls, dtype=np.float64)

    def settle(self) -> None:
        """Several threads may read behind this, until something is appended."""
        self._tables.reserve(len(self.layout.rows), len(self._columns))

    def copy(self) -> History:
        """The history as it is now, with the same layout."""
        return deepcopy(self, {id(self._layout): self._layout})

    def rows(self, kind: str) -> list[int]:
        """Indices into ``layout.rows`` of the rows of ``kind``, in the layout's order."""
        return self._rows.get(kind, [])

    def subjects(self, kind: str) -> tuple[str, ...]:
        known = self._subjects.get(kind)
        if known is None:
            rows = self.layout.rows
            known = self._subjects[kind] = tuple(rows[i].subject for i in self.rows(kind))
        return known

    def table(self, kind: str, statistic: str) -> Table:
        """All values of ``statistic`` for the rows of ``kind``; zero columns wide where there are none."""
        rows = self._indices.get(kind)
        if rows is None:
            rows = self._indices[kind] = np.array(self.rows(kind), np.intp)
        if statistic not in self._columns or not len(rows):
            values = np.full((len(self), len(rows)), np.nan, np.float32)
        else:
            self.settle()
            values = self._tables.stacked[:, :, self._columns[statistic]].take(rows, axis=1)
        return Table(self.subjects(kind), self.steps, values)

    def _place(self, kind: str, subject: str) -> int | None:
        """Index into ``layout.rows``."""
        if not self._places:
            rows = enumerate(self.layout.rows)
            self._places = {(row.kind, row.subject): i for i, row in reversed(list(rows))}
        return self._places.get((kind, subject))

    def last_histograms(self, kind: str, subjects: Sequence[str], most: int) -> tuple[Steps, NDArray[np.int32]]:
        """Steps and counts of the last histogram records, at most ``most``: shape (records, subjects, bins).

        Counts are zero where a record has no such row.
        """
        places = [self._place(kind, subject) for subject in subjects]
        records = self._counts[-most:]
        counts = np.zeros((len(records), len(places), schema.HISTOGRAM_BINS), np.int32)
        for record, into in zip(records, counts, strict=True):
            there = [(i, row) for i, row in enumerate(places) if row is not None and row < len(record)]
            into[[i for i, _ in there]] = record[[row for _, row in there]]
        return np.array(self._histograms.steps[-most:], np.int64), counts

    def histograms(self, kind: str, subject: str) -> tuple[Steps, NDArray[np.int32]]:
        """Steps and counts, shape (records, bins), of one row; empty where it has none."""
        row = self._place(kind, subject)
        entries = [
            (step, counts[row])
            for step, counts in zip(self._histograms.steps, self._counts, strict=True)
            if row is not None and row < len(counts)
        ]
        steps = np.array([step for step, _ in entries], np.int64)
        counts = np.array([c for _, c in entries], np.int32).reshape(len(entries), schema.HISTOGRAM_BINS)
        return steps, counts


class Series:
    """One scalar tag over time, with at most ``POINTS_KEPT`` points."""

    def __init__(self, points: Sequence[tuple[int, float, float]] = ()) -> None:
        self._values = Numbers("d")
        self._log = Log(POINTS_KEPT, OPENING_KEPT, self._values)
        for step, wall, value in points:
            self.append(step, wall, value)

    def append(self, step: int, wall: float, value: float) -> None:
        self._log.append(step, wall, value)

    def extend(self, steps: Steps, walls: NDArray[np.float64], values: NDArray[np.float64]) -> None:
        """Adds many points, as ``append`` does each."""
        self._log.extend(steps, walls, values)

    def copy(self) -> Series:
        """The series as it is now."""
        return deepcopy(self)

    @property
    def changes(self) -> int:
        """Grows whenever something was appended or forgotten."""
        return self._log.changes

    def rewind(self, step: int) -> None:
        """Forgets every point from ``step`` on: training restarted there."""
        self._log.rewind(step)

    def __len__(self) -> int:
        return len(self._log.steps)

    @property
    def steps(self) -> Steps:
        return np.array(self._log.steps, dtype=np.int64)

    @property
    def walls(self) -> NDArray[np.float64]:
        return np.array(self._log.walls, dtype=np.float64)

    @property
    def values(self) -> NDArray[np.float64]:
        return np.array(self._values, dtype=np.float64)


@dataclass
class Problem:
    """Something in the log that could not be read: where, and why."""

    path: str
    message: str


@dataclass
class Run:
    """One run directory: its watches, scalars and what the capture said of itself."""

    name: str
    watches: dict[str, History] = field(default_factory=dict)
    scalars: dict[str, Series] = field(default_factory=dict)
    capture: Any = None
    """The newest ``messages.Capture``, or None."""
    preflight: dict[str, Any] | None = None
    """The newest report of the checks before training, as ``checks.PreflightReport.to_json`` makes it."""
    problems: list[Problem] = field(default_factory=list)
    sampled: frozenset[str] = frozenset()
    """Scalar tags of which only a sample could be read."""
    part_of: str = ""
    """The run that this one is a line of, as ``add_scalars`` writes them, and that it is judged with."""
    names: Mapping[str, Any] = field(default_factory=dict)
    """The user's names for scalar tags (``rules/configuration.py``); the engine sets them."""

    def histories(self) -> Iterator[tuple[str, History]]:
        """Each watch with the prefix of its subjects: "" for the default watch, else "NAME."."""
        for watch, history in self.watches.items():
            yield ("" if watch == schema.DEFAULT_WATCH else f"{watch}."), history

    @property
    def nbytes(self) -> int:
        """Memory of its histories and scalars, about."""
        points = sum(map(len, self.scalars.values()))
        return sum(history.nbytes for history in self.watches.values()) + POINT_BYTES * points

    @property
    def last_step(self) -> int | None:
        """The greatest step of any watch, or of any scalar where nothing was watched."""
        watched = [int(h.steps[-1]) for h in self.watches.values() if len(h)]
        logged = [int(s.steps[-1]) for s in self.scalars.values() if len(s)]
        return max(watched or logged, default=None)

    @property
    def first_wall(self) -> float | None:
        walls = [float(h.walls[0]) for h in self.watches.values() if len(h)]
        walls += [float(s.walls[0]) for s in self.scalars.values() if len(s)]
        return min(filter(math.isfinite, walls), default=None)

    @property
    def last_wall(self) -> float | None:
        walls = [float(h.walls[-1]) for h in self.watches.values() if len(h)]
        walls += [float(s.walls[-1]) for s in self.scalars.values() if len(s)]
        return max(filter(math.isfinite, walls), default=None)
