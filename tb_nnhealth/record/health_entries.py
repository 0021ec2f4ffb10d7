"""The events of a run's health. Made on the training thread; encoded, and told of being written, on the writer's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto import event_pb2

from tb_nnhealth import checks, schema
from tb_nnhealth.events import encode
from tb_nnhealth.record.entries import Entry, Serialized

if TYPE_CHECKING:
    from tb_nnhealth.record.health_log import HealthLog

Array = TypeVar("Array", bound=NDArray[Any])
NOTHING_OBSOLETE = (1 << 63) - 1
"""Step of the session-start marker. A reader drops earlier data from that step on at the second marker it meets
(TensorBoard's older one at any): so a marker is there for a later ``purge_step`` to work, and by itself drops nothing,
though this run shares its directory with an earlier one or counts different things on different axes."""


class NumberEvent(Serialized):
    """An event of the user's that may hold scalars, which the judge reads as every reader does.

    ``line``: of which line of a plot, where it stands in that line's own file.
    """

    def __init__(self, health: HealthLog, data: bytes, line: str = "") -> None:
        super().__init__(data)
        self._health, self._line = health, line

    def written(self) -> Sequence[Entry]:
        self._health.judge.event(event_pb2.Event.FromString(self.data), self._line)
        return ()


class SessionStart(Entry):
    """The marker that a session begins, dropping nothing (see ``NOTHING_OBSOLETE``)."""

    def __init__(self, health: HealthLog, *, keep: bool = True) -> None:
        self._health = health
        self.keep = keep

    def encode(self) -> bytes:
        return encode.session_start(time.time(), NOTHING_OBSOLETE)

    def written(self) -> Sequence[Entry]:
        self._health.started()
        return ()


class LayoutNote(Entry):
    """What the rows of a watch's records mean: a serialized ``messages.Layout``."""

    def __init__(self, health: HealthLog, watch: str, step: int, layout: bytes, *, keep: bool = True) -> None:
        self._health = health
        self.watch = watch
        self.layout = layout
        self.size = len(layout)
        self.keep = keep
        self._wanted = self._step = step
        self._wall = time.time()

    def again(self) -> LayoutNote:
        """The same, for a further file."""
        return LayoutNote(self._health, self.watch, self._step, self.layout, keep=False)

    def encode(self) -> bytes:
        tag = schema.layout_tag(self.watch)
        self._step = self._health.next_step(tag, self._wanted)
        return encode.text(tag, self._step, self._wall, self.layout, self._health.first(tag))

    def written(self) -> Sequence[Entry]:
        self._health.begun(schema.layout_tag(self.watch))
        self._health.laid_out(self)
        return ()


class StatsRecord(Entry):
    """A record of statistics: float32 of shape (rows, columns), or what makes it on the writer's thread."""

    kind = "record"

    def __init__(
        self,
        health: HealthLog,
        watch: str,
        step: int,
        values: NDArray[np.float32] | Callable[[], NDArray[np.float32] | None],
        size: int,
    ) -> None:
        self._health = health
        self._watch = watch
        self._step = step
        self._wall = time.time()
        self._values = values
        self.size = size

    def encode(self) -> bytes | None:
        values = _evaluated(self._values, np.dtype(np.float32))
        if values is None:
            return None
        self._values = values
        tag = schema.stats_tag(self._watch)
        return encode.stats(tag, self._step, self._wall, values, self._health.first(tag))

    def written(self) -> Sequence[Entry]:
        assert isinstance(self._values, np.ndarray)
        return self._health.recorded(self._watch, self._step, self._wall, self._values)


class HistogramRecord(Entry):
    """A record of histograms: int32 of shape (rows, ``schema.HISTOGRAM_BINS``), or what makes it."""

    def __init__(
        self,
        health: HealthLog,
        watch: str,
        step: int,
        counts: NDArray[np.int32] | Callable[[], NDArray[np.int32] | None],
        size: int,
    ) -> None:
        self._health = health
        self._watch = watch
        self._step = step
        self._wall = time.time()
        self._counts = counts
        self.size = size

    def encode(self) -> bytes | None:
        counts = _evaluated(self._counts, np.dtype(np.int32))
        if counts is None:
            return None
        self._counts = counts
        tag = schema.histograms_tag(self._watch)
        return encode.histograms(tag, self._step, self._wall, counts, self._health.first(tag))

    def written(self) -> Sequence[Entry]:
        assert isinstance(self._counts, np.ndarray)
        self._health.begun(schema.histograms_tag(self._watch))
        self._health.judge.histograms(self._watch, self._step, self._wall, self._counts)
        return ()


class FiltersNote(Entry):
    """Filters of the first convolution: ``make`` gives the event's bytes, None where there are none."""

    def __init__(self, health: HealthLog, watch: str, step: int, make: Callable[[], bytes | None], size: int) -> None:
        self._health, self._tag = health, schema.filters_tag(watch)
        self._step, self._wall = step, time.time()
        self._make, self._payload = make, b""
        self.size = size

    def encode(self) -> bytes | None:
        self._payload = self._payload or self._make() or b""
        if not self._payload:
            return None
        return encode.text(self._tag, self._step, self._wall, self._payload, self._health.first(self._tag))

    def written(self) -> Sequence[Entry]:
        self._health.begun(self._tag)
        return ()


class LevelRecord(Entry):
    """A coarser record: minimum, maximum and mean, float32 of shape (3, rows, columns)."""

    def __init__(
        self, health: HealthLog, watch: str, level: int, step: int, wall: float, planes: NDArray[np.float32]
    ) -> None:
        self._health = health
        self._tag = schema.stats_tag(watch, level)
        self._step = step
        self._wall = wall
        self._planes = planes

    def encode(self) -> bytes:
        return encode.stats(self._tag, self._step, self._wall, self._planes, self._health.first(self._tag))

    def written(self) -> Sequence[Entry]:
        self._health.begun(self._tag)
        return ()


class CaptureNote(Entry):
    """The capture's own counters, as they stand when it is written."""

    def __init__(self, health: HealthLog, *, closed: bool = False) -> None:
        self._health = health
        self._closed = closed
        self._capture: Any = None
        self._step = 0

    def encode(self) -> bytes:
        health, tag = self._health, schema.CAPTURE_TAG
        self._capture = health.capture(self._closed)
        self._step = health.next_step(tag, health.judge.last_step)
        payload = self._capture.SerializeToString()
        return encode.text(tag, self._step, time.time(), payload, health.first(tag))

    def written(self) -> Sequence[Entry]:
        self._health.begun(schema.CAPTURE_TAG)
        return self._health.captured(self._capture)


class PreflightNote(Entry):
    """The report of the checks before training, as UTF-8 JSON."""

    keep = True

    def __init__(self, health: HealthLog, payload: bytes) -> None:
        self._health = health
        self._payload = payload
        self.size = len(payload)
        self._wall = time.time()

    def encode(self) -> bytes:
        health, tag = self._health, schema.PREFLIGHT_TAG
        step = health.next_step(tag, health.judge.last_step)
        return encode.text(tag, step, self._wall, self._payload, health.first(tag))

    def written(self) -> Sequence[Entry]:
        self._health.begun(schema.PREFLIGHT_TAG)
        self._health.judge.preflight(checks.decode(self._payload))
        return ()


class FindingsNote(Entry):
    """What the rules found, as JSON: ``{"findings": [...]}``."""

    def __init__(self, health: HealthLog, findings: list[dict[str, Any]]) -> None:
        self._health = health
        self._findings = findings
        self._step = 0

    def encode(self) -> bytes:
        health, tag = self._health, schema.FINDINGS_TAG
        self._step = health.next_step(tag, health.judge.last_step)
        payload = json.dumps({"findings": self._findings}).encode()
        return encode.text(tag, self._step, time.time(), payload, health.first(tag))

    def written(self) -> Sequence[Entry]:
        self._health.begun(schema.FINDINGS_TAG)
        self._health.found(self._findings)
        return ()


def _evaluated(values: Array | Callable[[], Array | None], dtype: np.dtype[Any]) -> Array | None:
    made = values() if callable(values) else values
    if made is None:
        return None
    table = np.asarray(made, dtype)
    if table.ndim != 2:
        raise ValueError(f"a record: expected the shape (rows, columns), found {table.shape}")
    return table  # type: ignore[return-value]
