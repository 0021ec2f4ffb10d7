"""One report of several: of the shards of a job array, or of log directories that were inspected apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tb_nnhealth.fleet.reports import Reports
from tb_nnhealth.fleet.scan import pack, summary
from tb_nnhealth.history import Problem
from tb_nnhealth.report.build import SCHEMA


class PartError(Exception):
    """A part that is no report. The message is for the user."""


def merged(parts: Iterable[tuple[str, Any]]) -> tuple[Reports, list[Problem]]:
    """The reports and problems of ``parts``, each a name and a JSON report; missing shards are problems.

    Of a run that several parts tell of, the report with the newest data is taken. Raises PartError.
    """
    newest: dict[str, tuple[float, bytes, Any, str]] = {}
    problems: list[Problem] = []
    shards: dict[int, set[int]] = {}
    for name, part in parts:
        try:
            if part["schema"] != SCHEMA:
                raise PartError(f"{name}: expected a report of schema {SCHEMA}, found {part['schema']!r}")
            told = [(summary(report), pack(report)) for report in part["runs"]]
            problems += [Problem(problem["path"], problem["message"]) for problem in part["problems"]]
            if "shard" in part:
                shards.setdefault(int(part["shard"]["of"]), set()).add(int(part["shard"]["number"]))
        except (KeyError, TypeError, ValueError) as error:
            expected = "expected a report of `nnhealth inspect --format json`"
            raise PartError(f"{name}: {expected}; found {type(error).__name__}: {error}") from error
        for about, report in told:
            known = newest.get(about.run)
            if known is not None and known[1] != report:
                problems.append(Problem(about.run, f"is in {known[3]} and in {name}; the one with newer data is shown"))
            if known is None or about.last_wall > known[0]:
                newest[about.run] = (about.last_wall, report, about, name)
    for of, there in sorted(shards.items()):
        for number in sorted(set(range(1, of + 1)) - there):
            problems.append(Problem(f"{number}/{of}", "this shard is missing; its runs are not shown"))
    reports = Reports()
    for _, report, about, _ in newest.values():
        reports.append(report, about)
    return reports, [Problem(*told) for told in dict.fromkeys((p.path, p.message) for p in problems)]
