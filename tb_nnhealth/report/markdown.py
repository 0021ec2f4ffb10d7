"""The report as GitHub-flavoured Markdown: for a pull request, a job's summary, a note.

Names stand in code spans, where nothing is markup; other text is escaped. No tables: a name may hold a ``|``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from tb_nnhealth import checks as preflight
from tb_nnhealth.history import Problem
from tb_nnhealth.report.printable import printable
from tb_nnhealth.report.tally import VERDICTS, span, totals

_MARK = {"critical": "🔴", "warning": "🟠", "info": "🔵", "healthy": "🟢", "no-data": "⚪"}
_MARKUP = re.compile(r"([\\`*_\[\]<>&~|#$])")
_LIST = re.compile(r"^(\d{0,9})(?=[-+=.)])")
_NAMED = re.compile(r"`([^`]+)`")


def render(reports: Sequence[dict[str, Any]], problems: Iterable[Problem]) -> str:
    """A line for each run, the worst first; then a section for each run with findings, root causes first."""
    lines = [f"## Training health: {totals(reports)}", ""]
    for report in sorted(reports, key=lambda report: VERDICTS.index(report["verdict"])):
        lines.append(
            f"- {_MARK[report['verdict']]} {report['verdict']}: {code(report['run'])}. {prose(report['summary'])}"
        )
    for report in reports:
        if report["findings"] or report["preflight"] is not None:
            lines += ["", f"### {code(report['run'])}", "", *_run(report)]
    unread = list(problems)
    if unread:
        lines += ["", "### Could not be read", ""]
        lines += [f"- {code(problem.path)}: {prose(problem.message)}" for problem in unread]
    return "\n".join(lines) + "\n"


def _run(report: dict[str, Any]) -> list[str]:
    lines = [line for finding in report["findings"] for line in _finding(finding)]
    if report["known"]:
        lines.append(f"- {report['known']} known findings of the baseline not shown")
    if report["preflight"] is not None:
        lines.append(f"- before training: {prose(preflight.tally(report['preflight']))}")
        lines += [f"  - {code(c['id'])}: {prose(c['message'])}" for c in _failed(report["preflight"])]
    checks = report["checks"]
    lines.append(
        f"- checks: {checks['passed']} passed, {checks['not_applicable']} not applicable, "
        f"{len(checks['could_not_check'])} could not check"
    )
    return lines


def _failed(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [check for check in report["checks"] if check["status"] in ("fail", "warn")]


def _finding(finding: dict[str, Any]) -> list[str]:
    cause = finding["caused_by"]
    indent = "" if cause is None else "  "
    where = f" in {code(finding['subject'])}" if finding["subject"] else ""
    after = ""
    if cause is not None:
        after = f", follows from {code(cause['rule'])}" + (f" in {code(cause['subject'])}" if cause["subject"] else "")
    mark = f"{_MARK[finding['severity']]} {finding['severity']}"
    told = prose(finding["message"])
    lines = [f"{indent}- {mark}: **{code(finding['rule'])}**{where}, {span(finding)}{after}. {told}"]
    if cause is None:
        lines += [f"  {number}. {prose(advice)}" for number, advice in enumerate(finding["advice"], 1)]
    return lines


def code(name: str) -> str:
    """``name`` in a code span, its fence longer than any run of backticks in it."""
    text = printable(name)
    if not text:
        return ""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    padded = f" {text} " if text[0] in "` " or text[-1] in "` " else text
    return f"{fence}{padded}{fence}"


def prose(text: str) -> str:
    """A sentence of the report, its names, which it has in backticks, in code spans, all else as text."""
    pieces = _NAMED.split(" ".join(text.split()))
    return _LIST.sub(r"\1\\", "".join(code(p) if i % 2 else _escaped(p) for i, p in enumerate(pieces)))


def _escaped(text: str) -> str:
    """``text`` with all escaped that is markup in Markdown; on GitHub an ``@`` in it mentions nobody."""
    return _MARKUP.sub(r"\\\1", printable(text)).replace("@", "@\u2060")
