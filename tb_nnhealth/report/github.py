"""The report as workflow commands of GitHub Actions, which shows them as annotations of the run, the worst first.

GitHub shows ten annotations of each level for a step of a job and drops the others, so no more are written; a last
line says how many findings have none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.history import Problem
from tb_nnhealth.report.printable import printable
from tb_nnhealth.report.tally import span, totals

SHOWN = 10
"""Annotations of one level that GitHub shows for a step."""
_LEVEL = {"critical": "error", "warning": "warning", "info": "notice"}


def render(reports: Sequence[dict[str, Any]], problems: Iterable[Problem]) -> str:
    """One ``::error``, ``::warning`` or ``::notice`` for each finding, then what could not be read, then the totals."""
    found = [(report["run"], finding) for report in reports for finding in report["findings"]]
    found.sort(key=lambda item: -SEVERITIES.index(item[1]["severity"]))
    annotations = [(_LEVEL[finding["severity"]], _title(run, finding), _message(finding)) for run, finding in found]
    annotations += [("warning", "Could not be read", f"{problem.path}: {problem.message}") for problem in problems]
    written: Counter[str] = Counter()
    lines = []
    for level, title, message in annotations:
        written[level] += 1
        if written[level] <= SHOWN:
            lines.append(f"::{level} title={_property(title)}::{_data(message)}")
    left_out = len(annotations) - len(lines)
    if left_out:
        lines.append(f"{left_out} more without an annotation: GitHub shows {SHOWN} of each level for a step.")
    return "\n".join([*lines, f"nnhealth: {totals(reports)}"]) + "\n"


def _title(run: str, finding: dict[str, Any]) -> str:
    where = f" in {finding['subject']}" if finding["subject"] else ""
    return f"{run}: {finding['rule']}{where}"


def _message(finding: dict[str, Any]) -> str:
    message = f"{finding['message']} ({span(finding)})"
    if finding["caused_by"] is not None:
        cause = finding["caused_by"]
        return f"{message} Follows from {cause['rule']}" + (f" in {cause['subject']}." if cause["subject"] else ".")
    return message + (f" Try first: {finding['advice'][0]}" if finding["advice"] else "")


def _data(text: str) -> str:
    """Escaped as the runner reads a command's message (actions/toolkit, ``command.ts``)."""
    return printable(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
