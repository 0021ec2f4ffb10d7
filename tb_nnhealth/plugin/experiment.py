"""The runs of one experiment, each read, judged and reported once for every state of its log."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from tb_nnhealth.history import Problem, Run
from tb_nnhealth.plugin import runs
from tb_nnhealth.report.build import build
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.source.base import Source

REFRESH_SECONDS = 1.0
"""The log is looked at no more often than this: one click asks five routes."""

RUNS_KEPT = 8
"""Runs that stay in memory; a large one takes more than 100 MB."""

TRIALS_KEPT = 256
"""Answers about other options, of each run."""

logger = logging.getLogger(__name__)


class UnreadableRunError(Exception):
    """A run that could not be read or judged; the message is a sentence for the user."""


class UnknownRunError(Exception):
    """There is no run of this name (any more)."""


class ForgetfulSource(Source, Protocol):
    """A source that tells without reading whether a run has grown, and can let go of it."""

    def grown_to(self, name: str) -> object: ...

    def forget(self, name: str) -> None: ...


class Judged:
    """One run's report, its row in the list, and the run itself while it is kept. Whoever uses it holds ``lock``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.run: Run | None = None
        self.report: dict[str, Any] | None = None
        self.row: dict[str, Any] = runs.unjudged(name)
        self.tags: frozenset[str] = frozenset()
        self.looked_at = -1
        """Refresh of the source at which the report was last known to be true; -1 before the first."""
        self.grown_to: object = None
        self.version = 0
        """Grows whenever the run was judged anew."""
        self.trials: dict[object, dict[str, Any]] = {}
        """Answers about this state of the run with other options."""
        self.incomplete = False
        """Whether something of the run could not be read; it is tried again then."""
        self._state: object = None

    def judge(self, run: Run) -> None:
        """Makes report and row of ``run``, if anything of it has changed, and keeps it with them."""
        state = _state(run)
        if self.report is None or state != self._state:
            self.report = build(run, judge(run))
            self.trials.clear()
            self.version += 1
            self.row = runs.summary(run, self.report)
            self.tags = frozenset(run.scalars)
        self.run, self._state, self.incomplete = run, state, bool(run.problems)

    def forget(self) -> None:
        """Lets go of the run; what was said of it stays."""
        self.run = self._state = None

    def failed(self, error: Exception) -> UnreadableRunError:
        self.run = self.report = self._state = None
        message = f"Run {self.name!r} could not be judged: {type(error).__name__}: {error}"
        self.row = runs.unjudged(self.name, message)
        return UnreadableRunError(message)


def _state(run: Run) -> object:
    """Differs whenever anything of the run has changed: its parts are told apart by identity and count of changes."""
    return (
        tuple((history, history.changes, len(history.layout.rows)) for history in run.watches.values()),
        tuple((series, series.changes) for series in run.scalars.values()),
        None if run.capture is None else run.capture.SerializeToString(),
        run.preflight,
    )


class Experiment:
    """The runs of one source, shared by the threads that serve requests.

    Reports of all runs stay in memory, of the runs themselves those opened lately.
    """

    def __init__(self, source: ForgetfulSource) -> None:
        self._source = source
        self._reading = threading.Lock()  # around every call of the source
        self._judged: dict[str, Judged] = {}
        self._keeping = threading.Lock()
        self._kept: OrderedDict[str, Judged] = OrderedDict()
        self._problems: list[Problem] = []
        self._refreshed_at = -float("inf")
        self._refresh = 0

    def names(self) -> list[str]:
        """Runs in the source's order, after a look for new data where the last one was a while ago.

        While another request reads, the names known so far are given, if there are any.
        """
        due = time.monotonic() - self._refreshed_at >= REFRESH_SECONDS
        if due and self._reading.acquire(blocking=not self._refresh):
            try:
                self._look()
            finally:
                self._reading.release()
        return list(self._judged)

    def _look(self) -> None:
        if time.monotonic() - self._refreshed_at < REFRESH_SECONDS:
            return  # another thread has just done so
        self._source.refresh()
        self._judged = {name: self._judged.get(name) or Judged(name) for name in self._source.runs()}
        self._problems = list(self._source.problems)
        self._refresh += 1
        self._refreshed_at = time.monotonic()

    @property
    def problems(self) -> list[Problem]:
        """What could not be read, of no run in particular."""
        return self._problems

    @contextmanager
    def open(self, name: str) -> Iterator[tuple[Run, dict[str, Any]]]:
        """The run called ``name`` and its report, up to date and unchanging while the context lasts.

        Raises UnknownRunError where there is none, UnreadableRunError where it could not be judged.
        """
        self.names()
        judged = self._judged.get(name)
        if judged is None:
            raise UnknownRunError(name)
        with judged.lock:
            self._keep(judged)
            self._update(judged)
            if judged.run is None:  # let go of since it was judged
                judged.run = self._read(judged)
            assert judged.report is not None
            yield judged.run, judged.report

    def version(self, name: str) -> int:
        """Another number whenever the run that is open has changed."""
        judged = self._judged.get(name)
        return 0 if judged is None else judged.version

    def trial(self, name: str, key: object, answer: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """``answer()`` about the run that is open, or what it gave for the same ``key`` while the log was the same."""
        judged = self._judged.get(name)
        trials = {} if judged is None else judged.trials
        if key not in trials:
            if len(trials) >= TRIALS_KEPT:
                trials.clear()
            trials[key] = answer()
        return trials[key]

    def rows(self, seconds: float) -> list[dict[str, Any]]:
        """A row for each run, judging for about ``seconds``: new runs first, then those that grew.

        A run that is not reached keeps its last row, which is "pending" where it never had one. At least
        one run is judged, so that asking again comes to an end.
        """
        self.names()
        everyone = list(self._judged.values())
        deadline = time.monotonic() + seconds
        for place, judged in enumerate(sorted(everyone, key=lambda judged: judged.looked_at)):
            left = deadline - time.monotonic()
            if left <= 0 and place > 0:
                break
            if judged.lock.acquire(timeout=max(left, 0.0)):
                try:
                    self._update(judged)
                    if judged.name not in self._kept:
                        (self._keep if len(self._kept) < RUNS_KEPT else self._drop)(judged)
                except UnreadableRunError:
                    continue  # its row says so
                finally:
                    judged.lock.release()
        return [judged.row for judged in everyone]

    def scalar_tags(self) -> int:
        """Different scalar tags of all runs read so far."""
        return len(frozenset().union(*(judged.tags for judged in list(self._judged.values()))))

    def _update(self, judged: Judged) -> None:
        """Reads and judges the run where it has grown since it was judged, or could not be read in full."""
        if judged.report is not None and judged.looked_at == self._refresh:
            return
        judged.looked_at = self._refresh
        with self._reading:
            grown_to = self._source.grown_to(judged.name)
        if judged.report is None or judged.incomplete or grown_to != judged.grown_to:
            run = self._read(judged)
            try:
                judged.judge(run)
            except Exception as error:
                raise self._failed(judged, error) from error
            judged.grown_to = grown_to

    def _read(self, judged: Judged) -> Run:
        try:
            with self._reading:
                return self._source.run(judged.name)
        except Exception as error:
            raise self._failed(judged, error) from error

    def _failed(self, judged: Judged, error: Exception) -> UnreadableRunError:
        logger.error("nnhealth: run %r could not be judged", judged.name, exc_info=error)
        return judged.failed(error)

    def _keep(self, judged: Judged) -> None:
        """Keeps the run in memory, and lets go of those that nobody opened for the longest time."""
        with self._keeping:
            self._kept[judged.name] = judged
            self._kept.move_to_end(judged.name)
            surplus = [self._kept.popitem(last=False)[1] for _ in range(len(self._kept) - RUNS_KEPT)]
        for old in surplus:
            if old.lock.acquire(blocking=False):  # one that is busy is dropped with the next rows()
                try:
                    self._drop(old)
                finally:
                    old.lock.release()

    def _drop(self, judged: Judged) -> None:
        if judged.run is not None:
            judged.forget()
            with self._reading:
                self._source.forget(judged.name)
