"""Reading and judging many runs, in several processes where that pays."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from itertools import repeat
from typing import Any

from tb_nnhealth.cli.tuning import Judging
from tb_nnhealth.history import Problem
from tb_nnhealth.plugin.replies import SavedRun, saved_run
from tb_nnhealth.report.baseline import without
from tb_nnhealth.report.build import build
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.source.files import FileSource

RUNS_PER_PROCESS = 4
"""With fewer runs than this for each process, starting it costs more than it saves."""

One = tuple[dict[str, Any] | None, list[Problem], bool, SavedRun | None]
"""A run's report, its problems, whether anything of it was read, and what a saved report holds of it."""


@dataclass
class Inspected:
    """Reports of the runs in the order asked for, and what could not be read of them."""

    reports: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    any_read: bool = False
    saved: list[SavedRun] = field(default_factory=list)
    """For a saved report, where one was asked for."""


def inspect_runs(
    paths: Sequence[str], names: Sequence[str], jobs: int, judging: Judging, saved_bytes: int | None = None
) -> Inspected:
    """Reports of the runs ``names`` below ``paths``. A run that fails is a problem and no report.

    ``saved_bytes``: how much of each run a saved report may hold; None where none is wanted.
    """
    jobs = min(jobs, len(names) // RUNS_PER_PROCESS)
    found = Inspected()
    for report, problems, read, saved in _with_progress(
        _each(tuple(paths), names, jobs, judging, saved_bytes), len(names)
    ):
        found.problems += problems
        found.any_read |= read
        if report is not None:
            found.reports.append(report)
        if saved is not None:
            found.saved.append(saved)
    return found


def _each(
    paths: tuple[str, ...], names: Sequence[str], jobs: int, judging: Judging, saved_bytes: int | None
) -> Iterator[One]:
    if jobs < 2:
        source = _source(paths)
        for name in names:
            yield _inspect(source, name, judging, saved_bytes)
        return
    pool = ProcessPoolExecutor(jobs, initializer=_leave_interrupts_to_the_parent)
    try:
        yield from pool.map(_inspect_in_process, repeat(paths), names, repeat(judging), repeat(saved_bytes))
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _inspect_in_process(paths: tuple[str, ...], name: str, judging: Judging, saved_bytes: int | None) -> One:
    return _inspect(_source(paths), name, judging, saved_bytes)


@cache
def _source(paths: tuple[str, ...]) -> FileSource:
    source = FileSource(paths, runs_kept=1)
    source.refresh()
    return source


def _inspect(source: FileSource, name: str, judging: Judging, saved_bytes: int | None) -> One:
    try:
        run = source.run(name)
        judgement, known = without(judge(run, judging.tuning), name, judging.known)
        report = build(run, judgement, known)
        saved = None if saved_bytes is None else saved_run(run, report, saved_bytes)
    except Exception as error:
        return None, [Problem(name, f"could not be judged: {type(error).__name__}: {error}")], False, None
    read = bool(run.watches or run.scalars) or not run.problems
    return report, list(run.problems), read, saved


def _with_progress(results: Iterable[One], total: int) -> Iterable[One]:
    """``results`` with a progress bar on a terminal, where rich is installed."""
    if total < 2 or not sys.stderr.isatty():
        return results
    try:
        from rich.console import Console
        from rich.progress import track
    except ImportError:
        return results
    shown: Iterable[One] = track(results, "Inspecting", total=total, console=Console(stderr=True), transient=True)
    return shown
