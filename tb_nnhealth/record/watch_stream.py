"""The way of one watch into the log: its layout, its records, its faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import messages
from tb_nnhealth.findings import Finding
from tb_nnhealth.record.entries import Entry
from tb_nnhealth.record.faults import describe
from tb_nnhealth.record.health_entries import FiltersNote, HistogramRecord, LayoutNote, StatsRecord
from tb_nnhealth.record.health_log import CaptureState
from tb_nnhealth.record.row_order import RowOrder, placed

if TYPE_CHECKING:
    from tb_nnhealth.record.recorder import Recorder
    from tb_nnhealth.rules.configuration import Tuning


class WatchStream:
    """The way of one watch into the log. Methods return at once and never raise."""

    def __init__(self, recorder: Recorder, name: str, tuning: Tuning) -> None:
        self.name = name
        self.capture = recorder._health.captures.setdefault(name, CaptureState())
        """What the watch says of its own measuring; to be changed in place."""
        self._rules_json = json.dumps(tuning.rules) if tuning.rules else ""
        self._scalars_json = json.dumps(tuning.scalars) if tuning.scalars else ""
        self._recorder = recorder
        self._pending: bytes | None = None
        self._closed = False
        self._order = recorder._orders.setdefault(name, RowOrder())
        self._places: NDArray[np.intp] | None = None
        self._again = self._order.used
        self.revise: Callable[[], Any] = lambda: None
        """Gives the layout, once all records are made, where it is another than the last given; else None."""
        recorder._health.revisions[name] = self._revisions

    @property
    def active(self) -> bool:
        """Records are taken: not while the writer is closed (the next ``add_...`` reopens it), nor after ``close``."""
        return not self._closed and self._recorder.is_open

    @property
    def background_seconds(self) -> float:
        """What the writer's thread has worked for the records so far; of several watches each bears an equal part."""
        return self._recorder._file.seconds / max(1, len(self._recorder._watches))

    def layout(self, layout: Any) -> None:
        """Says what the rows of all records mean, past and to come: a ``messages.Layout``, rows only ever appended.

        It is written before the next record, at its step: a reader takes a layout to be in force from its step on.
        """
        try:
            copy = messages.Layout()
            copy.CopyFrom(layout)
            copy.watch = self.name
            copy.rules_json = copy.rules_json or self._rules_json
            copy.scalars_json = copy.scalars_json or self._scalars_json
            self._order.used = True
            if self._again:
                self._places = self._order.merge(copy)
            else:
                self._order.note(copy)
            self._pending = copy.SerializeToString()
        except Exception as error:
            self.error(error)

    def _revisions(self) -> list[Entry]:
        """On the writer's thread, after the last record."""
        health = self._recorder._health
        try:
            layout = self.revise()
            if layout is None:
                return []
            self.layout(layout)
            pending, self._pending = self._pending, None
            return [] if pending is None else [LayoutNote(health, self.name, health.judge.last_step, pending)]
        except Exception as error:
            self.error(error)
            return []

    def stats(
        self,
        step: int,
        values: NDArray[np.float32] | Callable[[], NDArray[np.float32] | None],
        *,
        size: int = 0,
    ) -> None:
        """Records statistics: float32 of shape (rows, columns), handed over, or a callable that makes them.

        A callable runs on the writer's thread; None from it drops the record, counted. ``size`` is the memory that it
        holds until then, in bytes.
        """
        self._put(StatsRecord, step, values, np.nan, size)

    def histograms(
        self,
        step: int,
        counts: NDArray[np.int32] | Callable[[], NDArray[np.int32] | None],
        *,
        size: int = 0,
    ) -> None:
        """Records histograms, int32 of shape (rows, ``schema.HISTOGRAM_BINS``), as ``stats`` does statistics."""
        self._put(HistogramRecord, step, counts, 0, size)

    def filters(self, step: int, make: Callable[[], bytes | None], *, size: int = 0) -> None:
        """Records pictures of filters; ``make`` runs on the writer's thread and gives them encoded."""
        if not self.active:
            return
        try:
            self._recorder._file.put(FiltersNote(self._recorder._health, self.name, step, make, size))
        except Exception as error:
            self.error(error)

    def _put(
        self, kind: type[StatsRecord] | type[HistogramRecord], step: int, values: Any, missing: float, size: int
    ) -> None:
        if not self.active:
            return
        try:
            file, health = self._recorder._file, self._recorder._health
            if self._pending is not None:
                file.put(LayoutNote(health, self.name, step, self._pending))
                self._pending = None
            size = values.nbytes if isinstance(values, np.ndarray) else size
            file.put(kind(health, self.name, step, self._table(values, missing), size))
        except Exception as error:
            self.error(error)

    def _table(self, values: Any, missing: float) -> Any:
        """``values`` as the log orders its rows."""
        places = self._places
        if places is None:
            return values

        def table() -> Any:
            made = values() if callable(values) else values
            return None if made is None else placed(np.asarray(made), places, missing)

        return table

    def error(self, error: BaseException | str) -> None:
        """Tells of a fault inside the shim: once as a warning, and in the log."""
        message = error if isinstance(error, str) else describe(error)
        self._recorder._faults.tell(f"watch {self.name!r}: {message}")

    def close(self) -> None:
        """Takes no further records; the name may be opened again, and its table goes on."""
        self._closed = True
        self._recorder._watches.discard(self.name)

    def findings(self) -> list[Finding]:
        """Findings of this watch, and of the run's scalars."""
        return self._recorder.findings(watch=self.name)
