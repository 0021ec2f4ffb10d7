"""Looking at a log directory again and again: only what has grown is read and judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tb_nnhealth.events.storage import Stamp
from tb_nnhealth.events.walk import RunDirectory
from tb_nnhealth.fleet.scan import Scanned, unpack
from tb_nnhealth.follow.changes import Change, Ledger
from tb_nnhealth.history import Problem, Run
from tb_nnhealth.report.identity import Identity
from tb_nnhealth.source.files import FileSource

Choose = Callable[[Mapping[str, RunDirectory]], Sequence[RunDirectory]]
Judge = Callable[[Run], dict[str, Any]]
ScanAll = Callable[[Sequence[RunDirectory]], Iterable[Scanned]]
_KEPT = ("run", "verdict", "steps", "pace", "last_wall", "closed", "findings")
"""Of each run's report, for the screen, for metrics, and for what is held back."""


class Follower:
    """Follows the runs of ``source`` that ``choose`` picks; ``judge`` makes the report of one."""

    def __init__(self, source: FileSource, choose: Choose, judge: Judge) -> None:
        self._source, self._choose, self._judge = source, choose, judge
        self._ledger = Ledger()
        self._stamps: dict[str, tuple[Stamp, ...]] = {}
        self._reports: dict[str, dict[str, Any]] = {}
        self._problems: dict[str, list[Problem]] = {}

    @property
    def reports(self) -> list[dict[str, Any]]:
        """Of the newest report of each run what ``_KEPT`` names, in the order of names."""
        return [self._reports[name] for name in sorted(self._reports)]

    @property
    def by_run(self) -> Mapping[str, dict[str, Any]]:
        """The same by the names of runs."""
        return self._reports

    def finding(self, identity: Identity) -> dict[str, Any]:
        """As of the last look. Raises KeyError for one that is no longer reported."""
        return self._ledger.finding(identity)

    @property
    def problems(self) -> list[Problem]:
        """What could not be read, as of the last look."""
        return [*self._source.problems, *(p for name in sorted(self._problems) for p in self._problems[name])]

    def begin(self, scan: ScanAll) -> Iterator[list[Change]]:
        """The first look, for which ``scan`` reads and judges many runs; gives and raises what ``look`` does."""
        self._source.refresh()
        chosen = self._chosen()
        for name, directory in chosen.items():
            with suppress(OSError):  # gone since it was listed; the next look knows more
                self._stamps[name] = directory.stamps()
        for scanned in scan(list(chosen.values())):
            self._problems[scanned.run] = list(scanned.problems)
            if scanned.report is not None:
                yield self._took(unpack(scanned.report))

    def look(self) -> Iterator[list[Change]]:
        """Reads what is new, and gives the changes of one run after the other.

        Raises LogDirError where no log directory can be listed and none could before.
        """
        self._source.refresh()
        chosen = self._chosen()
        for name in self._stamps.keys() - chosen.keys():
            yield self._forget(name)
        for name, directory in chosen.items():
            try:
                stamps = directory.stamps()
            except OSError:  # a file was removed between listing and looking: the next look knows more
                continue
            if stamps != self._stamps.get(name):
                self._stamps[name] = stamps
                yield self._look_at(name)

    def _look_at(self, name: str) -> list[Change]:
        try:
            run = self._source.run(name)
            report = self._judge(run)
        except Exception as error:  # one run never ends the watch over the others
            self._problems[name] = [Problem(name, f"could not be judged: {type(error).__name__}: {error}")]
            return []
        self._problems[name] = list(run.problems)
        return self._took(report)

    def _chosen(self) -> dict[str, RunDirectory]:
        return {directory.name: directory for directory in self._choose(self._source.directories)}

    def _took(self, report: dict[str, Any]) -> list[Change]:
        self._reports[report["run"]] = {name: report[name] for name in _KEPT}
        return self._ledger.update(report)

    def _forget(self, name: str) -> list[Change]:
        self._stamps.pop(name)
        self._reports.pop(name, None)
        self._problems.pop(name, None)
        return self._ledger.forget(name)
