"""One run of an experiment: what was said of it, and the run itself while it is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tb_nnhealth.history import Run
from tb_nnhealth.plugin import runs
from tb_nnhealth.plugin.tables import LayerTables
from tb_nnhealth.report.build import build
from tb_nnhealth.rules.base import Rule
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.registry import RULES
from tb_nnhealth.source.base import Glimpse

ANSWERS_KEPT = 256
"""Answers of each run that are kept until it grows."""
NEVER = object()


class UnreadableRunError(Exception):
    """A run that could not be read or judged; the message is a sentence for the user."""


class Judged:
    """One run's report, its row in the list, and the run itself while it is kept. Whoever uses it holds ``lock``."""

    def __init__(self, name: str, known: Glimpse) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.asked_for = 0
        """Requests that want the run now."""
        self.run: Run | None = None
        self.tables: LayerTables | None = None
        self.report: dict[str, Any] | None = None
        self.known = known
        self.row: dict[str, Any] = runs.unjudged(name, known=known)
        self.tags: frozenset[str] = frozenset()
        self.looked_at = -1
        """Refresh of the source at which the report was last known to be true; -1 before the first."""
        self.grown_to: object = NEVER
        self.grown = True
        """Whether the source had more of the run when it was looked at last."""
        self.version = 0
        """Grows whenever the run was judged anew."""
        self.answers: dict[object, dict[str, Any]] = {}
        """Answers about this state of the run that took long to make."""
        self.incomplete = False
        """Whether something of the run could not be read; it is tried again then."""
        self._state: object = None

    def judge(self, run: Run, rules: Sequence[Rule] = RULES) -> None:
        """Makes report and row of ``run``, if anything of it has changed, and keeps it with them."""
        state = _state(run)
        if self.report is None or state != self._state:
            self.report = build(run, judge(run, rules=rules))
            self.answers.clear()
            self.tables = None
            self.version += 1
            self.row = runs.summary(run, self.report)
            self.tags = frozenset(run.scalars)
        self.keep(run)
        self._state, self.incomplete = state, bool(run.problems)

    def keep(self, run: Run) -> None:
        if self.tables is None or self.tables.run is not run:
            self.tables = LayerTables(run)
        self.run = run

    def forget(self) -> None:
        """Lets go of the run; what was said of it stays."""
        self.run = self._state = self.tables = None

    def failed(self, error: Exception) -> UnreadableRunError:
        self.run = self.report = self._state = self.tables = None
        message = f"Run {self.name!r} could not be judged: {type(error).__name__}: {error}"
        self.row = runs.unjudged(self.name, message, self.known)
        self.version += 1
        return UnreadableRunError(message)


def _state(run: Run) -> object:
    """Differs whenever anything of the run has changed: its parts are told apart by identity and count of changes."""
    return (
        tuple((history, history.changes, len(history.layout.rows)) for history in run.watches.values()),
        tuple((series, series.changes) for series in run.scalars.values()),
        None if run.capture is None else run.capture.SerializeToString(),
        run.preflight,
    )


@dataclass(frozen=True)
class Opened:
    """A run that was read and judged, while it is looked at. ``version`` is another whenever the run has changed."""

    run: Run
    report: dict[str, Any]
    tables: LayerTables
    version: int
    answers: dict[object, dict[str, Any]]

    def once(self, key: object, answer: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """``answer()``, or what it gave for the same ``key`` while the log was the same."""
        if key not in self.answers:
            if len(self.answers) >= ANSWERS_KEPT:
                self.answers.clear()
            self.answers[key] = answer()
        return self.answers[key]
