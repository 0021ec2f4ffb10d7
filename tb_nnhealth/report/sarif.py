"""The report as SARIF 2.1.0 (OASIS standard), as code-scanning services read it.

A result's ``partialFingerprints`` are the same in every report of a run, so that a service follows a finding over
re-runs. Runs, layers and tags are logical locations; services that want a file get the run's directory, relative to
the log directory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from tb_nnhealth import __version__
from tb_nnhealth.history import Problem
from tb_nnhealth.report.identity import Identity, identities
from tb_nnhealth.report.printable import printable
from tb_nnhealth.report.tally import span
from tb_nnhealth.rules.base import Rule
from tb_nnhealth.rules.registry import RULES

SCHEMA_URI = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT = "nnhealthFinding/v1"
_LEVEL = {"critical": "error", "warning": "warning", "info": "note"}


def render(reports: Sequence[dict[str, Any]], problems: Iterable[Problem]) -> str:
    """One SARIF log with one run: the rules that found something, their results, and what could not be read."""
    told = [
        (finding, identity) for r in reports for finding, identity in zip(r["findings"], identities(r), strict=True)
    ]
    ids = {finding["rule"] for finding, _ in told}
    rules = [rule for rule in RULES if rule.id in ids]
    places = {rule.id: place for place, rule in enumerate(rules)}
    notifications = [_notification(problem) for problem in problems]
    run = {
        "tool": {"driver": {"name": "nnhealth", "version": __version__, "rules": [_rule(rule) for rule in rules]}},
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notifications}],
        "results": [_result(finding, identity, places[finding["rule"]]) for finding, identity in told],
        "properties": {"verdicts": {printable(report["run"]): report["verdict"] for report in reports}},
    }
    return json.dumps({"$schema": SCHEMA_URI, "version": "2.1.0", "runs": [run]}, indent=1, allow_nan=False) + "\n"


def _rule(rule: Rule) -> dict[str, Any]:
    summary, _, page = rule.page.strip().partition("\n")
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.id.split("-")),
        "shortDescription": {"text": rule.ill},
        "fullDescription": {"text": summary.strip()},
        "help": {"text": page.strip(), "markdown": page.strip()},
        "defaultConfiguration": {"level": _LEVEL[rule.severity]},
        "properties": {"tags": [rule.group]},
    }


def _result(finding: dict[str, Any], identity: Identity, rule_index: int) -> dict[str, Any]:
    cause = finding["caused_by"]
    text = f"{finding['message']} ({span(finding)})"
    advice = [] if cause is not None else finding["advice"]
    return {
        "ruleId": finding["rule"],
        "ruleIndex": rule_index,
        "level": _LEVEL[finding["severity"]],
        "message": {"text": printable(text) + "".join(f"\n- {printable(line)}" for line in advice)},
        "locations": [_location(identity)],
        "partialFingerprints": {FINGERPRINT: identity.fingerprint},
        "properties": {
            "severity": finding["severity"],
            "firstStep": finding["first_step"],
            "firedStep": finding["fired_step"],
            "lastStep": finding["last_step"],
            "active": finding["active"],
            "causedBy": cause,
            "evidence": finding["evidence"],
        },
    }


def _location(identity: Identity) -> dict[str, Any]:
    name, subject = printable(identity.run), printable(identity.subject)
    run = {"name": name, "fullyQualifiedName": name, "kind": "run"}
    layer = {"name": subject, "fullyQualifiedName": f"{name}/{subject}", "kind": "layer or tag"}
    return {
        "physicalLocation": {"artifactLocation": {"uri": _uri(identity.run), "uriBaseId": "LOGDIR"}},
        "logicalLocations": [run, layer] if identity.subject else [run],
    }


def _uri(run: str) -> str:
    """A relative reference: what is no letter or digit is quoted, and what is no UTF-8 stays the bytes that it was."""
    return quote(run.encode("utf-8", "surrogateescape"), safe="/")


def _notification(problem: Problem) -> dict[str, Any]:
    return {"level": "warning", "message": {"text": f"{printable(problem.path)}: {printable(problem.message)}"}}
