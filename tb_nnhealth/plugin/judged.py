"""One run of an experiment: what was said of it, and the run itself while it is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from tb_nnhealth.history import Run
from tb_nnhealth.plugin import runs
from tb_nnhealth.plugin.model import model
from tb_nnhealth.plugin.scalars import Standard, standard
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


@dataclass(frozen=True)
class Opened:
    """A run that was read and judged, as it was then. Many threads may use it while a later state is judged.

    ``version`` is another whenever the run has changed.
    """

    run: Run
    report: dict[str, Any]
    tables: LayerTables
    version: int
    answers: dict[object, dict[str, Any]] = field(default_factory=dict)
    """Answers about this state of the run that took long to make."""

    @cached_property
    def charts(self) -> list[Standard]:
        """The scalar charts that every run has, over all steps."""
        return standard(self.run)

    def prepare(self) -> None:
        """Makes what a page of the run is drawn of, before anybody asks for it."""
        self.tables.every()
        self.model()
        _ = self.charts

    def model(self) -> dict[str, Any]:
        return self.once("model", lambda: model(self.run, self.tables))

    def once(self, key: object, answer: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """``answer()``, or what it gave for the same ``key`` while the log was the same."""
        found = self.answers.get(key)
        if found is None:
            if len(self.answers) >= ANSWERS_KEPT:
                self.answers.clear()
            found = self.answers[key] = answer()
        return found


class Judged:
    """One run's report, its row in the list, and the run itself while it is kept.

    Whoever reads or judges it holds ``judging``. ``opened`` is replaced as a whole, so that who answers needs no lock.
    """

    def __init__(self, name: str, known: Glimpse) -> None:
        self.name = name
        self.judging = threading.Lock()
        self.asked_for = 0
        """Requests that cannot be answered before the run is judged."""
        self.opened: Opened | None = None
        self.report: dict[str, Any] | None = None
        self.known = known
        self.row: dict[str, Any] = {**runs.unjudged(name, known=known), "version": 0}
        self.tags: frozenset[str] = frozenset()
        self.looked_at = -1
        """Refresh of the source at which the report was last known to be true; -1 before the first."""
        self.grown_to: object = NEVER
        self.grown = True
        """Whether the source had more of the run when it was looked at last."""
        self.version = 0
        """Grows whenever the run was judged anew."""
        self.nbytes = 0
        """Of the run, about, while it is kept."""
        self.incomplete = False
        """Whether something of the run could not be read; it is tried again then."""
        self._state: object = None

    def judge(self, run: Run, rules: Sequence[Rule] = RULES) -> None:
        """Makes report and row of ``run``, if anything of it has changed, and keeps it with them."""
        state = _state(run)
        if self.report is None or state != self._state:
            seen = _as_it_is(run)
            report = build(seen, judge(seen, rules=rules))
            self.version += 1
            self._open(seen, report)
            self.report = report
            self.row = {**runs.summary(seen, report), "version": self.version}
            self.tags = frozenset(seen.scalars)
            self._state = state
        self.keep(run)
        self.incomplete = bool(run.problems)

    def keep(self, run: Run) -> Opened:
        """The run with what was said of it. It must be as it was judged."""
        assert self.report is not None
        if self.opened is None:
            return self._open(_as_it_is(run), self.report)
        return self.opened

    def _open(self, seen: Run, report: dict[str, Any]) -> Opened:
        self.opened = Opened(seen, report, LayerTables(seen), self.version)
        self.nbytes = seen.nbytes
        return self.opened

    def forget(self) -> None:
        """Lets go of the run; what was said of it stays."""
        self.opened = self._state = None

    def failed(self, error: Exception) -> UnreadableRunError:
        self.opened = self.report = self._state = None
        message = f"Run {self.name!r} could not be judged: {type(error).__name__}: {error}"
        self.version += 1
        self.row = {**runs.unjudged(self.name, message, self.known), "version": self.version}
        return UnreadableRunError(message)


def _as_it_is(run: Run) -> Run:
    """``run`` as it is now, for several threads at once: sources replace its parts, and those are not changed."""
    for history in run.watches.values():
        history.settle()
    return replace(run, watches=dict(run.watches), scalars=dict(run.scalars), problems=list(run.problems))


def _state(run: Run) -> object:
    """Differs whenever anything of the run has changed: its parts are told apart by identity and count of changes."""
    return (
        tuple((history, history.changes, len(history.layout.rows)) for history in run.watches.values()),
        tuple((series, series.changes) for series in run.scalars.values()),
        None if run.capture is None else run.capture.SerializeToString(),
        run.preflight,
        [(problem.path, problem.message) for problem in run.problems],
    )
