"""From the values of events, in the order of writing, to a Run. Every source builds its runs here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.events.decode import (
    CaptureSeen,
    FiltersSeen,
    Histograms,
    LayoutSeen,
    PreflightSeen,
    Record,
    Scalar,
    SessionStart,
    Value,
)
from tb_nnhealth.events.run_values import HistogramRecords, Many, Points, Records
from tb_nnhealth.history import Floats, History, Run, Series
from tb_nnhealth.source.layouts import Layouts


class WatchBuilder:
    """Puts layouts and records of one watch together. ``history`` is None before the first layout."""

    def __init__(self) -> None:
        self.history: History | None = None
        self.started = float("inf")
        """Wall time of the first layout."""
        self._layouts = Layouts()
        self._undescribed = 0

    @property
    def problem(self) -> str:
        """What could not be understood, "" if nothing."""
        if not self._undescribed:
            return ""
        return f"{self._undescribed} record(s) have rows or columns that no layout before them describes; left out"

    def layout(self, seen: LayoutSeen) -> None:
        rewound = self._layouts.append(seen.step, seen.layout)
        self.started = min(self.started, seen.wall)
        if self.history is None:
            self.history = History(self._layouts.merged)
            return
        if rewound:  # a new session: what the older one wrote from here on is obsolete, and its rows may be gone
            self.history.rewind(seen.step)
        self.history.layout = self._layouts.merged

    def record(self, step: int, wall: float, values: Floats) -> None:
        self._undescribed += self.history is None or not self._layouts.fits(values.shape)
        if self.history is not None:
            self.history.append(step, wall, self._layouts.place(values))

    def histograms(self, step: int, wall: float, counts: NDArray[np.int32]) -> None:
        if self.history is not None:
            self.history.append_histogram(step, wall, self._layouts.place_rows(counts))

    def filters(self, seen: FiltersSeen) -> None:
        if self.history is not None:
            self.history.append_filters(seen.filters)

    def records(self, many: Records) -> None:
        """The same as ``record`` for each."""
        if self.history is None or not self._layouts.fits(many.values.shape):
            self._undescribed += len(many.steps)
        if self.history is not None:
            self.history.extend(many.steps, many.walls, self._layouts.place(many.values))

    def histogram_records(self, many: HistogramRecords) -> None:
        """The same as ``histograms`` for each."""
        if self.history is not None:
            self.history.extend_histograms(many.steps, many.walls, self._layouts.place_rows(many.counts))

    def rewind(self, step: int) -> None:
        if self.history is None:
            return
        self.history.rewind(step)
        if self._layouts.rewind(step) and self._layouts.merged is not None:
            self.history.layout = self._layouts.merged


class RunBuilder:
    """Builds one run from all values of its events, in place."""

    def __init__(self, name: str) -> None:
        self.run = Run(name)
        self._scalars: dict[str, Series] = {}
        self._watches: dict[str, WatchBuilder] = {}
        self._preflights: list[PreflightSeen] = []

    @property
    def problems(self) -> list[str]:
        return [f"watch '{name}': {watch.problem}" for name, watch in self._watches.items() if watch.problem]

    def leave(self) -> None:
        """What ``run`` holds of histories and series is left as it is: copies of them go on."""
        for watch in self._watches.values():
            if watch.history is not None:
                watch.history = watch.history.copy()
        self._scalars = {tag: series.copy() for tag, series in self._scalars.items()}

    def add(self, value: Value | Many) -> None:
        """Takes the next value, or the next values of one kind; a ``SessionStart`` here is a restart."""
        if isinstance(value, Points):
            self._series(value.tag).extend(value.steps, value.walls, value.values)
        elif isinstance(value, Scalar):
            self._series(value.tag).append(value.step, value.wall, value.value)
        elif isinstance(value, Records):
            self._watch(value.watch).records(value)
        elif isinstance(value, HistogramRecords):
            self._watch(value.watch).histogram_records(value)
        elif isinstance(value, Record):
            if value.level == 0:  # coarser ones are for readers who were given a sample
                self._watch(value.watch).record(value.step, value.wall, value.values)
        elif isinstance(value, Histograms):
            self._watch(value.watch).histograms(value.step, value.wall, value.counts)
        elif isinstance(value, FiltersSeen):
            self._watch(value.watch).filters(value)
        elif isinstance(value, LayoutSeen):
            self._watch(value.watch).layout(value)
        elif isinstance(value, CaptureSeen):
            self.run.capture = value.capture
        elif isinstance(value, PreflightSeen):
            self._preflights = [*(seen for seen in self._preflights if seen.step < value.step), value]
        elif isinstance(value, SessionStart):
            self._rewind(value.step)

    def finish(self) -> Run:
        """The run with all that was added, its watches and tags in an order that no source can vary."""
        self.run.watches = in_order(self._watches)
        self.run.scalars = dict(sorted(self._scalars.items()))
        self.run.preflight = self._preflights[-1].report if self._preflights else None
        return self.run

    def _series(self, tag: str) -> Series:
        series = self._scalars.get(tag)
        if series is None:
            series = self._scalars[tag] = Series()
        return series

    def _watch(self, name: str) -> WatchBuilder:
        return self._watches.setdefault(name, WatchBuilder())

    def _rewind(self, step: int) -> None:
        for series in self._scalars.values():
            series.rewind(step)
        for watch in self._watches.values():
            watch.rewind(step)
        self._preflights = [seen for seen in self._preflights if seen.step < step]


def in_order(watches: dict[str, WatchBuilder]) -> dict[str, History]:
    """The histories in the order in which their watches began."""
    begun = sorted(watches.items(), key=lambda item: (item[1].started, item[0]))
    return {name: watch.history for name, watch in begun if watch.history is not None}
