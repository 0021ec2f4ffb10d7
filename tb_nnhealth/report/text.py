"""The report as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from tb_nnhealth import checks as preflight
from tb_nnhealth.history import Problem
from tb_nnhealth.report.printable import all_printable, printable
from tb_nnhealth.report.tally import span, totals

WIDTH = 100
FEW = 4
"""Rules named that lack the same thing."""
_MARK = {"critical": "✖", "warning": "▲", "info": "●", "healthy": "✔", "no-data": "–"}
_COLOUR = {"critical": "31", "warning": "33", "info": "34", "healthy": "32", "no-data": "90"}


def render(reports: Sequence[dict[str, Any]], problems: Iterable[Problem], *, color: bool = False) -> str:
    """Each run's verdict and findings, root causes first, symptoms indented, then what could not be read."""
    lines: list[str] = []
    verdicts = []
    for report in reports:
        verdicts.append({"verdict": report["verdict"]})
        shown = {**report, "checks": {**report["checks"], "outcomes": ()}}  # the longest part, not shown here
        lines += [*_run(all_printable(shown), color), ""]
    for problem in problems:
        lines += _wrapped(printable(f"{problem.path}: {problem.message}"), "could not read  ", " " * 16)
    if len(verdicts) > 1:
        lines.append(totals(verdicts))
    return "\n".join(lines).rstrip() + "\n"


def _run(report: dict[str, Any], color: bool) -> list[str]:
    verdict = report["verdict"]
    mark = _paint(f"{_MARK[verdict]} {verdict}", verdict, color)
    lines = [f"{mark}  {_bold(report['run'], color)}"]
    lines += _wrapped(report["summary"], "  ", "  ")
    if verdict == "healthy" and report["closest"]:
        lines += _wrapped(f"Closest to a limit: {report['closest']}.", "  ", "  ")
    for finding in report["findings"]:
        lines += ["", *_finding(finding, color)]
    if report["known"]:
        lines += ["", f"  {report['known']} known finding(s) of the baseline not shown"]
    if report["preflight"] is not None:
        lines += ["", f"  before training: {preflight.tally(report['preflight'])}"]
        for line in preflight.lines(report["preflight"]):
            lines += _wrapped(line, "    ", " " * 10)
    checks = report["checks"]
    lines += ["", f"  checks: {checks['passed']} passed, {checks['not_applicable']} not applicable"]
    for needs, rules in _by_need(checks["could_not_check"]).items():
        lines += _wrapped(f"could not check {_named(rules)}: {needs}", "  ", "    ")
    return lines


def _named(rules: Sequence[str]) -> str:
    """All where they are few; of many, which a log of plain scalars leaves out, the first: JSON has them all."""
    if len(rules) <= FEW:
        return ", ".join(rules)
    return f"{', '.join(rules[:FEW])} and {len(rules) - FEW} more"


def _by_need(unchecked: Sequence[dict[str, str]]) -> dict[str, list[str]]:
    rules: dict[str, list[str]] = {}
    for entry in unchecked:
        rules.setdefault(entry["needs"], []).append(entry["rule"])
    return rules


def _finding(finding: dict[str, Any], color: bool) -> list[str]:
    indent = "  " if finding["caused_by"] is None else "      "
    severity = finding["severity"]
    head = _paint(f"{_MARK[severity]} {finding['rule']}", severity, color)
    where = f"  {finding['subject']}" if finding["subject"] else ""
    lines = [f"{indent}{head}{where}  {span(finding)}"]
    if finding["caused_by"] is not None:
        cause = finding["caused_by"]
        lines.append(
            f"{indent}  follows from {cause['rule']}" + (f" in {cause['subject']}" if cause["subject"] else "")
        )
    lines += _wrapped(finding["message"], indent + "  ", indent + "  ")
    if finding["caused_by"] is None:
        for number, advice in enumerate(finding["advice"], 1):
            lines += _wrapped(advice, f"{indent}  {number}. ", f"{indent}     ")
    return lines


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False)


def _paint(text: str, verdict: str, color: bool) -> str:
    return f"\x1b[{_COLOUR[verdict]}m{text}\x1b[0m" if color else text


def _bold(text: str, color: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m" if color else text
