"""The runs of one experiment, each read, judged and reported once for every state of its log."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from tb_nnhealth.history import Problem, Run
from tb_nnhealth.plugin.judged import Judged, Opened, UnreadableRunError
from tb_nnhealth.plugin.unhurried import Unhurried
from tb_nnhealth.rules.base import Rule
from tb_nnhealth.rules.registry import RULES
from tb_nnhealth.source.base import Glimpse, Source

REFRESH_SECONDS = 1.0
"""The log is looked at no more often than this: one click asks five routes."""

PATIENT = 10.0
"""Who is in a hurry takes what was known so many times ``REFRESH_SECONDS`` ago."""

BYTES_KEPT = 256 << 20
"""Of runs that stay in memory, besides the one opened last: hundreds of short ones, or two or three of the largest."""

ASIDE_STEP = 0.02

logger = logging.getLogger(__name__)


class UnknownRunError(Exception):
    """There is no run of this name (any more)."""


class ForgetfulSource(Source, Protocol):
    """A source that tells without reading whether a run has grown, or is yet to be read, and can let go of it."""

    def grown_to(self, name: str) -> object: ...

    def glimpse(self, name: str) -> Glimpse: ...

    def unread(self, name: str) -> bool: ...

    def forget(self, name: str) -> None: ...


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
        self._opened_last: Judged | None = None
        self._problems: list[Problem] = []
        self._counting = threading.Lock()
        self._listed = 0
        """Counts how often the list of runs has changed."""
        self._refreshed_at = -float("inf")
        self._refresh = 0
        self._behind = False
        """Whether the last look for new data had to be put off, because another request was reading."""
        self.answering = 0
        """Requests about single runs that are being answered."""
        self._seen: dict[str, object] = {}
        self.steady = False
        """Whether the last two looks for new data found the same."""
        self._aside_until = -float("inf")

    def names(self, patience: float = 1.0) -> list[str]:
        """Runs in the source's order, after a look for new data where the last was ``patience`` times a while ago.

        While another request reads, the names known so far are given, if there are any.
        """
        due = self._age() >= patience * REFRESH_SECONDS
        if due and self._reading.acquire(blocking=not self._refresh):
            try:
                self._look()
                self._behind = False
            finally:
                self._reading.release()
        elif due:
            self._behind = True
        return list(self._judged)

    def look_soon(self) -> None:
        """Says that rows may change, where the last look for new data was a while ago."""
        self._behind |= self._age() >= REFRESH_SECONDS

    def _age(self) -> float:
        return time.monotonic() - self._refreshed_at

    def _look(self) -> None:
        if self._age() < REFRESH_SECONDS:
            return  # another thread has just done so
        self._source.refresh()
        known = self._judged
        self._judged = {n: known.get(n) or Judged(n, self._source.glimpse(n)) for n in self._source.runs()}
        self._listed += known.keys() != self._judged.keys()
        seen = {name: self._source.grown_to(name) for name in self._judged}
        self.steady, self._seen = seen == self._seen, seen
        for name, judged in self._judged.items():
            judged.grown = seen[name] != judged.grown_to
        self._problems = list(self._source.problems)
        self._refresh += 1
        self._refreshed_at = time.monotonic()

    @property
    def problems(self) -> list[Problem]:
        """What could not be read, of no run in particular."""
        return self._problems

    def version_of(self, name: str) -> int | None:
        """Of the state that ``open`` would give now; None where it would have to judge or read first."""
        opened = self.known(name)
        return None if opened is None else opened.version

    def known(self, name: str) -> Opened | None:
        """The run as it was judged last, where it is in memory; None where ``open`` would have to read or judge."""
        judged = self._judged.get(name)
        return None if judged is None else judged.opened

    @contextmanager
    def open(self, name: str) -> Iterator[Opened]:
        """The run called ``name``, read and judged.

        Where it has grown since it was judged, it is given as it was then: ``awaited`` tells so, ``judge`` sees to it.
        Raises UnknownRunError where there is none, UnreadableRunError where it could not be judged.
        """
        if name not in self.names(PATIENT):
            self.names()
        judged = self._judged.get(name)
        if judged is None:
            raise UnknownRunError(name)
        with self._counted():
            opened = judged.opened or self._made_now(judged)
            self._opened_last = judged
            self._keep(judged)
            yield opened

    def _made_now(self, judged: Judged) -> Opened:
        with self._counting:
            judged.asked_for += 1
        try:
            with judged.judging:
                if judged.opened is None:
                    self._update(judged)
                return judged.opened or judged.keep(self._read(judged))
        finally:
            with self._counting:
                judged.asked_for -= 1

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._counting:
            self.answering += 1
        try:
            yield
        finally:
            with self._counting:
                self.answering -= 1

    def rows(self) -> list[dict[str, Any]]:
        """A row for each run of ``names()`` as far as it is known: of one that was never judged what the lists tell."""
        return [judged.row for judged in self._judged.values()]

    def awaited(self) -> int:
        """How many rows are known to change: their runs are new or have grown. At least 1 while that cannot be told."""
        grown = sum(judged.grown and judged.looked_at != self._refresh for judged in list(self._judged.values()))
        return max(grown, int(self._behind))

    def version(self) -> str:
        """Another text whenever a row may have changed."""
        return f"{self._listed}-{sum(judged.version for judged in list(self._judged.values()))}"

    def stand_aside(self, seconds: float) -> None:
        """Has the judging pause for ``seconds``, but of runs that are asked for; 0 ends such a pause."""
        self._aside_until = time.monotonic() + seconds

    def _aside(self) -> bool:
        return time.monotonic() < self._aside_until

    def judge(self, seconds: float, rest: float = 0.0) -> bool:
        """Judges for about ``seconds`` the runs that were not looked at since the source was; whether any are left.

        New ones come first, among them last those that TensorBoard has yet to read: they are judged anew when it has.
        Then comes the one opened last, of equals the newest; at least one is judged. ``rest``: pauses between rules, in
        multiples of the time that they took; a run that is asked for has none.
        """
        self.names()
        due = [judged for judged in list(self._judged.values()) if judged.looked_at != self._refresh]
        due.sort(
            key=lambda judged: (
                judged.report is not None,
                judged.report is None and self._unread(judged),
                judged is not self._opened_last,
                judged.looked_at,
                -(judged.row["last_wall"] or 0.0),
            )
        )
        deadline = time.monotonic() + seconds
        for place, judged in enumerate(due):
            while rest and self._aside():
                time.sleep(ASIDE_STEP)
            left = deadline - time.monotonic()
            if left <= 0 and place > 0:
                return True
            if judged.judging.acquire(timeout=max(left, 0.0)):
                try:
                    self._update(judged, Unhurried(RULES, rest, self._hurried(judged)) if rest else RULES)
                    if judged.name not in self._kept:
                        (self._keep if self._kept_bytes() + judged.nbytes <= BYTES_KEPT else self._drop)(judged)
                    if judged.opened is not None:
                        judged.opened.prepare()
                except UnreadableRunError:
                    continue  # its row says so
                finally:
                    judged.judging.release()
        return False

    def _unread(self, judged: Judged) -> bool:
        with self._reading:
            return self._source.unread(judged.name)

    def _hurried(self, judged: Judged) -> Callable[[], bool | None]:
        """Tells whether a request waits for this run (True), others are answered (False), or none is."""
        return lambda: bool(judged.asked_for) if self.answering or self._aside() else None

    def scalar_tags(self) -> int:
        """Different scalar tags of all runs read so far."""
        return len(frozenset().union(*(judged.tags for judged in list(self._judged.values()))))

    def _update(self, judged: Judged, rules: Sequence[Rule] = RULES) -> None:
        """Reads and judges the run where it has grown since it was judged, or could not be read in full."""
        if judged.report is not None and judged.looked_at == self._refresh:
            return
        refresh = self._refresh
        with self._reading:
            grown_to = self._source.grown_to(judged.name)
        try:
            if judged.report is None or judged.incomplete or grown_to != judged.grown_to:
                run = self._read(judged)
                try:
                    judged.judge(run, rules)
                except Exception as error:
                    raise self._failed(judged, error) from error
        finally:
            judged.looked_at, judged.grown_to = refresh, grown_to

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
            surplus = []
            while len(self._kept) > 1 and self._kept_bytes() > BYTES_KEPT:
                surplus.append(self._kept.popitem(last=False)[1])
        for old in surplus:
            if old.judging.acquire(blocking=False):  # one that is being judged is let go of after that
                try:
                    self._drop(old)
                finally:
                    old.judging.release()

    def _kept_bytes(self) -> int:
        return sum(judged.nbytes for judged in list(self._kept.values()))

    def _drop(self, judged: Judged) -> None:
        if judged.opened is not None:
            judged.forget()
            with self._reading:
                self._source.forget(judged.name)
