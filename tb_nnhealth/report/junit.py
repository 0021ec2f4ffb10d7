"""The report as JUnit XML: a suite for each run, a case for each finding and for each rule that found nothing.

Warning and critical findings are failures; what could not be checked is skipped, never passed; what could not be read
is an error in a suite of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from tb_nnhealth.history import Problem
from tb_nnhealth.report.printable import printable
from tb_nnhealth.report.tally import span

_SKIPPED = ("not-applicable", "too-little-data", "could-not-check")


def render(reports: Sequence[dict[str, Any]], problems: Iterable[Problem]) -> str:
    """An XML document; findings stand in the order of the report, root causes first."""
    root = Element("testsuites", name="nnhealth")
    for report in reports:
        suite = _suite(root, report["run"])
        for finding in report["findings"]:
            _finding(suite, report["run"], finding)
        for outcome in report["checks"]["outcomes"]:
            if outcome["status"] != "finding":
                _outcome(suite, report["run"], outcome)
    unread = list(problems)
    if unread:
        suite = _suite(root, "log")
        for problem in unread:
            _told(_case(suite, "log", problem.path), "error", "unreadable", problem.message, "")
    for element in (*root, root):
        _count(element)
    indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, "unicode") + "\n"


def _suite(root: Element, name: str) -> Element:
    return SubElement(root, "testsuite", name=printable(name))


def _case(suite: Element, group: str, name: str) -> Element:
    return SubElement(suite, "testcase", classname=printable(group), name=printable(name))


def _finding(suite: Element, run: str, finding: dict[str, Any]) -> None:
    where = f" in {finding['subject']}" if finding["subject"] else ""
    case = _case(suite, run, f"{finding['rule']}{where}")
    cause = finding["caused_by"]
    more = [f"{finding['severity']}, {span(finding)}"]
    if cause is not None:
        more.append(f"follows from {cause['rule']}" + (f" in {cause['subject']}" if cause["subject"] else ""))
    else:
        more += [f"{number}. {advice}" for number, advice in enumerate(finding["advice"], 1)]
    if finding["severity"] == "info":
        SubElement(case, "system-out").text = "\n".join(map(printable, [finding["message"], *more]))
    else:
        _told(case, "failure", finding["severity"], finding["message"], "\n".join(map(printable, more)))


def _outcome(suite: Element, run: str, outcome: dict[str, Any]) -> None:
    case = _case(suite, run, outcome["rule"])
    if outcome["status"] in _SKIPPED:
        SubElement(case, "skipped", message=printable(f"{outcome['status']}: {outcome['reason']}"))
    elif outcome["status"] == "error":
        _told(case, "error", "rule", outcome["reason"], "")


def _told(case: Element, what: str, kind: str, message: str, more: str) -> None:
    SubElement(case, what, type=kind, message=printable(message)).text = more or None


def _count(element: Element) -> None:
    """Sets the counts that JUnit's readers take from a suite, or from all of them."""
    for name, what in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(sum(1 for _ in element.iter(what))))
