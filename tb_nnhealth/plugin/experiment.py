"""The runs of one experiment, each read, judged and reported once for every state of its log."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tb_nnhealth.history import Problem, Run
from tb_nnhealth.plugin import runs
from tb_nnhealth.report.build import build
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.source.base import Source

REFRESH_SECONDS = 1.0
"""The log is looked at no more often than this: one click asks five routes."""

logger = logging.getLogger(__name__)


class UnreadableRunError(Exception):
    """A run that could not be read or judged; the message is a sentence for the user."""


class UnknownRunError(Exception):
    """There is no run of this name (any more)."""


class Judged:
    """One run with its report and its row in the list. Whoever uses it holds ``lock``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.run: Run | None = None
        self.report: dict[str, Any] = {}
        self.row: dict[str, Any] = runs.unjudged(name)
        self.tags: frozenset[str] = frozenset()
        self.looked_at = -1
        """Refresh of the source at which the report was last known to be true; -1 before the first."""
        self._seen: object = None

    def update(self, read: Callable[[str], Run], refresh: int) -> Run:
        """Reads what is new and judges again where anything is.

        Raises UnreadableRunError, and then tries again at the next refresh; other runs are not affected.
        """
        if self.run is not None and self.looked_at == refresh:
            return self.run
        self.looked_at = refresh
        try:
            run = read(self.name)
            seen = _state(run)
            if self.run is not run or seen != self._seen:
                self.report = build(run, judge(run))
                self.row = runs.summary(run, self.report)
                self.tags = frozenset(run.scalars)
        except Exception as error:
            logger.exception("nnhealth: run %r could not be judged", self.name)
            self.run = None
            message = f"Run {self.name!r} could not be judged: {type(error).__name__}: {error}"
            self.row = runs.unjudged(self.name, message)
            raise UnreadableRunError(message) from error
        self.run, self._seen = run, seen
        return run


def _state(run: Run) -> object:
    """Differs whenever anything of the run has changed: its parts are told apart by identity and count of changes."""
    return (
        tuple((history, history.changes, len(history.layout.rows)) for history in run.watches.values()),
        tuple((series, series.changes) for series in run.scalars.values()),
        None if run.capture is None else run.capture.SerializeToString(),
        len(run.problems),
    )


class Experiment:
    """The runs of one ``Source``, shared by the threads that serve requests."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._reading = threading.Lock()  # around every call of the source
        self._judged: dict[str, Judged] = {}
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

    def _read(self, name: str) -> Run:
        with self._reading:
            return self._source.run(name)

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
            yield judged.update(self._read, self._refresh), judged.report

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
                    judged.update(self._read, self._refresh)
                except UnreadableRunError:
                    continue  # its row says so
                finally:
                    judged.lock.release()
        return [judged.row for judged in everyone]

    def scalar_tags(self) -> int:
        """Different scalar tags of all runs read so far."""
        return len(frozenset().union(*(judged.tags for judged in list(self._judged.values()))))
