"""Reading and judging many runs: what the index knows is taken from there, the rest is scanned over an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tb_nnhealth.events.walk import RunDirectory
from tb_nnhealth.fleet.executors import Workers, workers
from tb_nnhealth.fleet.index import Index, stamps_of
from tb_nnhealth.fleet.jobs import jobs
from tb_nnhealth.fleet.reports import Reports
from tb_nnhealth.fleet.scan import How, Scanned, pack, scan
from tb_nnhealth.fleet.scan import summary as summary_of
from tb_nnhealth.history import Problem
from tb_nnhealth.report.ranks import joined

Progress = Callable[[Iterable[Scanned], int], Iterable[Scanned]]
"""Shows how far the scan of so many runs has come."""


@dataclass
class Inspected:
    """Reports of the runs by name, and what could not be read of them."""

    reports: Reports = field(default_factory=Reports)
    problems: list[Problem] = field(default_factory=list)
    any_read: bool = False
    also: dict[str, Any] = field(default_factory=dict)
    """What ``How.also`` gave of each run, by name."""
    known: int = 0
    """Reports that came from the index."""


def inspect_runs(
    directories: Sequence[RunDirectory],
    how: How,
    choose: Callable[[Sequence[RunDirectory]], Workers] = workers,
    *,
    index: Index | None = None,
    ranks_together: bool = True,
    progress: Progress = lambda results, total: results,
) -> Inspected:
    """Reports of all ``directories``. A run that fails is a problem and no report.

    ``choose`` says who does the work that the index does not save. With ``ranks_together`` the ranks of a job are one
    report.
    """
    found = _Found()
    new, stamps = [], {}
    for directory in directories:
        known = index.get(directory) if index is not None else None
        if known is not None:
            found.add(known)
        else:
            new.append(directory)
            if index is not None:
                stamps[directory.name] = stamps_of(directory)
    found.result.known = len(directories) - len(new)
    by_name = {directory.name: directory for directory in new}
    results = choose(new).start(partial(scan, how=how), new) if new else ()
    for scanned in progress(results, len(new)):
        found.add(scanned)
        if index is not None:
            index.put(by_name[scanned.run], stamps[scanned.run], scanned)
    result = found.sorted()
    if ranks_together:
        join_ranks(result.reports)
    return result


def join_ranks(reports: Reports) -> None:
    """Makes one report of those of the ranks of a job, under the job's name."""
    for job, members in jobs(summary.run for summary in reports.summaries).items():
        place = {summary.run: i for i, summary in enumerate(reports.summaries)}
        report = joined(job, [(one.rank, reports[place[one.run]]) for one in members])
        reports.join([place[one.run] for one in members], pack(report), summary_of(report))


class _Found:
    """Results in the order in which they come."""

    def __init__(self) -> None:
        self.result = Inspected()
        self._problems: list[tuple[str, Problem]] = []

    def add(self, scanned: Scanned) -> None:
        self.result.any_read |= scanned.read
        self._problems += ((scanned.run, problem) for problem in scanned.problems)
        if scanned.report is not None and scanned.summary is not None:
            self.result.reports.append(scanned.report, scanned.summary)
            if scanned.also is not None:
                self.result.also[scanned.run] = scanned.also

    def sorted(self) -> Inspected:
        self.result.reports.arrange(lambda summary: summary.run)
        self.result.problems = [problem for _, problem in sorted(self._problems, key=lambda told: told[0])]
        return self.result
