"""The live judge: the rules, asked about what has just been written, at intervals that stay within the budget.

It appends to a ``history.Run`` exactly what the files hold, in the order of writing, by the methods that every reader
uses. That is why the findings in a running training are those that ``nnhealth inspect`` prints of its log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.events.decode import Decoder, Scalar
from tb_nnhealth.findings import Finding
from tb_nnhealth.history import Floats, History, Run, Series

SHARE_OF_BUDGET = 0.25
SHORTEST_INTERVAL = 1.0
"""Seconds between judgements at least, and before the first."""
IDLE_SECONDS = 30.0
"""Without a change for so long, a run is judged as it stands: its training has paused or ended."""
DEFAULT_BUDGET = 0.02
ROW_SECONDS = 1e-4
"""About what a judgement takes for each row of the layouts; it tells when the first one may be made."""


class LiveJudge:
    """A run as written so far, and what the rules say of it. Thread-safe."""

    def __init__(self, run_name: str, trained: Callable[[], float] = lambda: 0.0) -> None:
        """``trained`` gives the seconds of training so far, pauses aside; 0 where nobody counts them.

        Intervals are of training: a pause, or the time that other programs have, earns no judgement.
        """
        self._run = Run(run_name)
        self._decoder = Decoder()
        self._lock = threading.Lock()
        self._trained = trained
        self._changed = False
        self._changed_at = 0.0
        self._interval: float | None = None
        self._begin_interval()

    def _begin_interval(self) -> None:
        self._since, self._trained_before = time.monotonic(), self._trained()

    def prepare(self) -> None:
        """Imports the rules, which takes long enough to be felt in a training under way."""
        import tb_nnhealth.rules.engine  # noqa: F401

    def _change(self) -> None:
        self._changed, self._changed_at = True, time.monotonic()
        if self._interval is None:
            rows = sum(len(history.layout.rows) for history in self._run.watches.values())
            self._interval = max(SHORTEST_INTERVAL, rows * ROW_SECONDS / (4 * SHARE_OF_BUDGET * DEFAULT_BUDGET))
            self._begin_interval()

    def layout(self, watch: str, layout: Any) -> None:
        with self._lock:
            history = self._run.watches.get(watch)
            if history is None:
                self._run.watches[watch] = History(layout)
            else:
                history.layout = layout
            self._change()

    def stats(self, watch: str, step: int, wall: float, values: Floats) -> None:
        with self._lock:
            if watch in self._run.watches:  # a record without its layout tells a reader nothing either
                self._run.watches[watch].append(step, wall, values)
                self._change()

    def histograms(self, watch: str, step: int, wall: float, counts: NDArray[np.int32]) -> None:
        with self._lock:
            if watch in self._run.watches:
                self._run.watches[watch].append_histogram(step, wall, counts)
                self._change()

    def event(self, event: Any, line: str = "") -> None:
        """Takes the scalars of an ``event_pb2.Event`` of the user's; those of a ``line`` of a plot as ``tag/line``."""
        with self._lock:
            for scalar in self._decoder.values(event, ""):
                if isinstance(scalar, Scalar):
                    tag = f"{scalar.tag}/{line}" if line else scalar.tag
                    series = self._run.scalars.get(tag)
                    if series is None:
                        series = self._run.scalars[tag] = Series()
                    series.append(scalar.step, scalar.wall, scalar.value)
                    self._change()

    def capture(self, capture: Any) -> None:
        with self._lock:
            self._run.capture = capture

    def preflight(self, report: dict[str, Any]) -> None:
        with self._lock:
            self._run.preflight = report

    @property
    def last_step(self) -> int:
        """The greatest step so far, 0 where there is none."""
        with self._lock:
            return self._run.last_step or 0

    def seconds_to_due(self) -> float | None:
        """Until the next judgement may be made; None where nothing has changed since the last one."""
        if not self._changed or self._interval is None:
            return None
        now, trained = time.monotonic(), self._trained()
        left = self._interval - (now - self._since)
        if trained and trained - self._trained_before < self._interval:
            left = max(left, IDLE_SECONDS - (now - self._changed_at))
        return max(0.0, left)

    def findings(self, watch: str | None = None, *, budget: float = DEFAULT_BUDGET) -> tuple[Finding, ...]:
        """What the rules say now, of the whole run or of one watch (and the run's scalars)."""
        from tb_nnhealth.rules.engine import judge

        with self._lock:
            begun = time.thread_time()  # what holds the interpreter's lock, not what waits for it
            whole = self._run
            watches = {name: history for name, history in whole.watches.items() if watch in (None, name)}
            run = Run(whole.name, watches, dict(sorted(whole.scalars.items())), whole.capture)
            run.preflight = whole.preflight
            self._changed = self._changed and watch is not None
            try:
                return judge(run).findings
            finally:
                spent = time.thread_time() - begun
                share = SHARE_OF_BUDGET * (budget if budget > 0 else DEFAULT_BUDGET)
                self._interval = max(SHORTEST_INTERVAL, spent / share)
                self._begin_interval()
