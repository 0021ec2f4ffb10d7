"""One run, read and judged: a pure function of its event files, which any process on any machine can carry out."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tb_nnhealth.events.walk import RunDirectory
from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.fleet.jobs import member
from tb_nnhealth.history import Problem, Run
from tb_nnhealth.report.baseline import Known, without
from tb_nnhealth.report.build import build
from tb_nnhealth.rules.configuration import Tuning
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.source.run_files import RunFiles

Also = Callable[[Run, dict[str, Any]], Any]
"""What is wanted of a run and its report besides the report. It and what it gives can be pickled."""


@dataclass(frozen=True)
class How:
    """How runs are judged: ``tuning`` is laid over what the logs recorded; findings in ``known`` are left out."""

    tuning: Tuning = field(default_factory=Tuning)
    known: tuple[Known, ...] = ()
    also: Also | None = None


class Summary(NamedTuple):
    """What choosing and sorting need of a report, without unpacking it."""

    run: str
    verdict: str
    severest: int
    """Place in ``SEVERITIES`` of the severest finding, -1 without any."""
    last_wall: float
    """Of the newest data, 0 without any."""


@dataclass(frozen=True)
class Scanned:
    """What a run came to. ``report``, as ``report.build`` makes it, is packed; None where it could not be judged."""

    run: str
    report: bytes | None
    summary: Summary | None
    problems: tuple[Problem, ...] = ()
    read: bool = False
    """Whether anything was read, or nothing had to be."""
    also: Any = None
    """What ``How.also`` gave."""


def scan(directory: RunDirectory, how: How) -> Scanned:
    """Reads and judges one run. Raises nothing: a run that fails is a problem and no report."""
    name = directory.name
    try:
        run = RunFiles(name, directory.storage).refresh_with(directory)
        judgement, known = without(judge(run, how.tuning), name, how.known)
        rank = member(name)
        if rank is not None and how.known:  # a baseline has the findings of a job under the job's name
            judgement, more = without(judgement, rank.job, how.known)
            known += more
        report = build(run, judgement, known)
        read = bool(run.watches or run.scalars) or not run.problems
        also = None if how.also is None else how.also(run, report)
        return Scanned(name, pack(report), summary(report), tuple(run.problems), read, also)
    except Exception as error:
        return lost(name, f"could not be judged: {type(error).__name__}: {error}")


def lost(name: str, why: str) -> Scanned:
    """A run of which there is nothing to tell but why."""
    return Scanned(name, None, None, (Problem(name, why),))


def summary(report: dict[str, Any]) -> Summary:
    return Summary(report["run"], report["verdict"], severest(report["findings"]), report["last_wall"] or 0.0)


def severest(findings: Sequence[dict[str, Any]]) -> int:
    return max((SEVERITIES.index(finding["severity"]) for finding in findings), default=-1)


def pack(report: dict[str, Any]) -> bytes:
    return zlib.compress(json.dumps(report, separators=(",", ":"), allow_nan=False).encode(), 1)


def unpack(packed: bytes) -> dict[str, Any]:
    """Raises ValueError or zlib.error for what ``pack`` did not make."""
    report: dict[str, Any] = json.loads(zlib.decompress(packed))
    return report
