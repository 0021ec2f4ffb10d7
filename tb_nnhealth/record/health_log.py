"""What the writer's thread knows of a run's health: tags begun, layouts, coarser levels, capture's state, live judge.

Its methods run on the writer's thread only, so that nothing here needs a lock; the judge, which others ask too, has
its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth import messages, schema
from tb_nnhealth.record.entries import Entry, Kind, Tally
from tb_nnhealth.record.faults import Faults
from tb_nnhealth.record.health_entries import CaptureNote, FindingsNote, LayoutNote, LevelRecord, SessionStart
from tb_nnhealth.record.judge import LiveJudge
from tb_nnhealth.record.levels import Levels
from tb_nnhealth.record.open_findings import OpenFindings

CAPTURE_SECONDS = 5.0


@dataclass
class CaptureState:
    """What a watch says of its own measuring; it changes these as it goes."""

    overhead: float = 0.0
    """Measured cost as a share of the bare step time."""
    budget: float = 0.0
    """The share asked for, 0 where a cadence was given."""
    every: int = 1
    """Optimizer steps per measured step at present."""
    histogram_every: int = 0
    """Records per histogram record."""
    trained: float = 0.0
    """Seconds of training so far, pauses aside; 0 where nobody counts them."""
    reason: str = ""
    """Why this cadence, one sentence."""


class HealthLog:
    """The companion of a run's event file (``event_file.Companion``)."""

    def __init__(self, run_name: str, faults: Faults) -> None:
        self.faults = faults
        self.counts: dict[Kind, Tally] = {}
        self.captures: dict[str, CaptureState] = {}
        """Of each watch that was opened; where there is none, nothing is added to the file."""
        self.revisions: dict[str, Callable[[], list[Entry]]] = {}
        """By watch: layouts that only the last record told."""
        self.judge = LiveJudge(run_name, self._trained)
        self._begun: set[str] = set()
        self._levels: dict[str, Levels] = {}
        self._layouts: dict[str, LayoutNote] = {}
        self._started = False
        self._steps: dict[str, int] = {}
        self._next_capture = 0.0
        self._capture_written: Any = None
        self._findings_written: list[dict[str, Any]] = []
        self.open_findings = OpenFindings()

    def _trained(self) -> float:
        return max((state.trained for state in self.captures.values()), default=0.0)

    def new_file(self) -> Sequence[Entry]:
        """Whatever became of the earlier file: this one is complete in itself."""
        self._begun.clear()
        marker = [SessionStart(self, keep=False)] if self._started else []
        return [*marker, *(note.again() for note in self._layouts.values())]

    def due(self, closing: bool) -> Sequence[Entry]:
        if not self.captures:
            return ()
        if closing:
            revised = [note for revisions in self.revisions.values() for note in revisions()]
            return [*revised, CaptureNote(self, closed=True)]
        entries: list[Entry] = []
        now = time.monotonic()
        if now >= self._next_capture and self._capture_changed():
            self._next_capture = now + CAPTURE_SECONDS
            entries.append(CaptureNote(self))
        if self.judge.seconds_to_due() == 0:
            entries += self.judged()
        return entries

    def seconds_to_due(self) -> float | None:
        if not self.captures:
            return None
        capture = max(0.0, self._next_capture - time.monotonic()) if self._capture_changed() else None
        return min((s for s in (capture, self.judge.seconds_to_due()) if s is not None), default=None)

    def judged(self, closing: bool = False) -> Sequence[Entry]:
        """The findings of now, where they are not those written last."""
        found = [finding.to_json() for finding in self.judge.findings(budget=self.capture().budget)]
        entries: list[Entry] = [] if found == self._findings_written else [FindingsNote(self, found)]
        return entries + self.open_findings.entries(self, found, closing)

    def capture(self, closed: bool = False) -> Any:
        """The state of the capture: of several watches the summed overhead, and the slowest one's cadence."""
        states = self.captures
        slowest = max(states.values(), key=lambda state: state.every, default=CaptureState())
        reasons = [
            state.reason if name == schema.DEFAULT_WATCH else f"{name}: {state.reason}"
            for name, state in states.items()
            if state.reason
        ]
        records = self.counts.get("record", Tally())
        return messages.Capture(
            written=records.written,
            dropped=records.dropped,
            overhead=sum(state.overhead for state in states.values()),
            budget=max((state.budget for state in states.values()), default=0.0),
            every=slowest.every,
            histogram_every=slowest.histogram_every,
            errors=self.faults.messages,
            reason="; ".join(reasons),
            closed=closed,
        )

    def _capture_changed(self) -> bool:
        last, records = self._capture_written, self.counts.get("record", Tally())
        if last is None:
            return records.written > 0 or bool(self.faults.messages)
        return (last.written, last.dropped, len(last.errors)) != (
            records.written,
            records.dropped,
            len(self.faults.messages),
        )

    # --- what the entries tell of themselves ----------------------------------------------------------------------

    def first(self, tag: str) -> bool:
        return tag not in self._begun

    def next_step(self, tag: str, step: int) -> int:
        """``step``, or what exceeds the last step given to ``tag``: steps of a tag must increase."""
        self._steps[tag] = step = max(step, self._steps.get(tag, -1) + 1)
        return step

    def behind(self, tag: str) -> bool:
        """Whether the run has gone on since the last event of ``tag``."""
        return self._steps.get(tag, -1) < self.judge.last_step

    def begun(self, tag: str) -> None:
        """An event of ``tag`` stands in the present file."""
        self._begun.add(tag)

    def started(self) -> None:
        self._started = True

    def recorded(self, watch: str, step: int, wall: float, values: NDArray[np.float32]) -> list[Entry]:
        """A record stands in the file; returns the coarser ones that it completes."""
        tag = schema.stats_tag(watch)
        if step <= self._steps.get(tag, -1):  # training restarted: what the levels gathered is obsolete
            self._levels.pop(watch, None)
        self._steps[tag] = step
        self.begun(tag)
        self.judge.stats(watch, step, wall, values)
        coarser = self._levels.setdefault(watch, Levels()).add(values)
        return [LevelRecord(self, watch, level, step, wall, planes) for level, planes in coarser]

    def laid_out(self, note: LayoutNote) -> None:
        self._layouts[note.watch] = note
        self.judge.layout(note.watch, messages.Layout.FromString(note.layout))

    def captured(self, capture: Any) -> Sequence[Entry]:
        self._capture_written = capture
        self.judge.capture(capture)
        return self.judged(closing=True) if capture.closed else ()

    def found(self, findings: list[dict[str, Any]]) -> None:
        self._findings_written = findings
