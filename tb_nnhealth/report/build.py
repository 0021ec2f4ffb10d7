"""The report of one run: one dict, read by every rendering and by the panel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tb_nnhealth import schema
from tb_nnhealth.derive import BY_ID as STATISTICS
from tb_nnhealth.findings import Evidence, Finding, json_number
from tb_nnhealth.history import Run
from tb_nnhealth.report.layers import layer_names, layers_of
from tb_nnhealth.report.pace import pace
from tb_nnhealth.report.page import references, why_it_matters
from tb_nnhealth.report.ranks import compared, told_of
from tb_nnhealth.report.sentence import chain, plain, sentence
from tb_nnhealth.rules.base import (
    Closest,
    CouldNotCheck,
    Failed,
    Ill,
    NotApplicable,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.engine import Judgement
from tb_nnhealth.rules.registry import BY_ID

SCHEMA = 1
"""Version of the JSON object; grows when a field changes its meaning."""

_STATUS: Mapping[type, str] = {
    Passed: "passed",
    Ill: "finding",
    NotApplicable: "not-applicable",
    TooLittleData: "too-little-data",
    CouldNotCheck: "could-not-check",
    Failed: "error",
}


def build(run: Run, judgement: Judgement, known: int = 0) -> dict[str, Any]:
    """The "run" object of ``nnhealth inspect --format json`` and of the panel's report route.

    ``known``: how many findings were left out because a baseline knows them.
    """
    findings = judgement.findings
    layers = layer_names(run)
    steps = run.last_step
    closest = judgement.closest
    ranks = compared(run)
    pieces = sentence(judgement, layers=len(layers), steps=steps, preflight=run.preflight)
    if run.part_of:
        pieces = [{"text": "A line of "}, {"code": run.part_of}, {"text": ", judged with that run."}]
    if ranks is not None and ranks["stopped"]:
        pieces = [{"text": f"{told_of(ranks)} "}, *pieces]
    return {
        "run": run.name,
        "verdict": judgement.verdict,
        "steps": 0 if steps is None else steps,
        "sentence": pieces,
        "summary": plain(pieces),
        "try_first": findings[0].advice[0] if findings and findings[0].advice else None,
        "chain": chain(findings),
        "closest": None if closest is None else _came_close(closest),
        "layers": len(layers),
        "optimizers": sorted({o.type for h in run.watches.values() for o in h.layout.optimizers}),
        "pace": pace(run),
        "first_wall": run.first_wall,
        "last_wall": run.last_wall,
        "closed": bool(run.capture.closed) if run.capture is not None else False,
        "has_records": any(len(history) for history in run.watches.values()),
        "sampled": sorted(run.sampled),
        "checks": _checks(judgement.outcomes),
        "preflight": run.preflight,
        "findings": [_finding(finding, run) for finding in findings],
        "known": known,
        "capture": _capture(run),
        "ranks": ranks,
    }


def _came_close(closest: Closest) -> str:
    where = f" at step {closest.step:,}" + (f", in {closest.subject}" if closest.subject else "")
    if closest.share >= 1:
        return f"{closest.what} was beyond its limit{where}, but did not stay there"
    return f"{closest.what} reached {closest.share:.0%} of its limit{where}"


def _finding(finding: Finding, run: Run) -> dict[str, Any]:
    rule = BY_ID[finding.rule]
    subjects = finding.evidence.more.get("subjects") or [
        {"subject": finding.subject, "first_step": finding.first_step, "last_step": finding.last_step}
    ]
    names = [entry["subject"] for entry in subjects]
    layers = list(dict.fromkeys(layer for name in names for layer in layers_of(run, name)))
    own = layers_of(run, finding.subject)
    return {
        **finding.to_json(),
        "title": rule.ill,
        "why": why_it_matters(rule.page),
        "references": references(rule.page),
        "rule_page": rule.page,
        "snippet": _snippet(rule, finding.evidence),
        "statistic_id": _statistic(finding, rule),
        "layer": own[0] if own else None,
        "layers": layers,
        "subjects": subjects,
    }


def _statistic(finding: Finding, rule: Rule) -> str | None:
    """Of the layers × steps view: the one that was judged, else the rule's."""
    judged = finding.evidence.statistic.replace("_", "-")
    return judged if judged in STATISTICS else rule.statistic or None


def _snippet(rule: Rule, evidence: Evidence) -> str:
    """The line that tunes the rule, two options at their defaults, to be edited: first the one that was the limit."""
    first = sorted(rule.options, key=lambda option: (option.default != evidence.limit, option.unit != evidence.unit))
    options = ", ".join(f'"{option.name}": {option.default:g}' for option in first[:2])
    value = f"{{{options}}}" if options else "False"
    return f'writer.watch(model, optimizer, rules={{"{rule.id}": {value}}})' + ("  # or False" if options else "")


def _checks(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    rows = []
    for rule_id, outcome in outcomes.items():
        rule = BY_ID[rule_id]
        status = _STATUS[type(outcome)]
        title = rule.ill if status == "finding" else rule.healthy
        rows.append(
            {"rule": rule_id, "group": rule.group, "title": title, "status": status, "reason": _reason(outcome)}
        )
    unchecked = [
        {"rule": row["rule"], "needs": row["reason"]}
        for row in rows
        if row["status"] in ("could-not-check", "too-little-data", "error")
    ]
    return {
        "passed": sum(row["status"] == "passed" for row in rows),
        "not_applicable": sum(row["status"] == "not-applicable" for row in rows),
        "could_not_check": unchecked,
        "outcomes": rows,
    }


def _reason(outcome: Outcome) -> str:
    if isinstance(outcome, (NotApplicable, TooLittleData)):
        return outcome.why
    if isinstance(outcome, CouldNotCheck):
        return outcome.needs
    if isinstance(outcome, Failed):
        return f"the rule failed: {outcome.error}"
    return ""


def _capture(run: Run) -> dict[str, Any] | None:
    if run.capture is None:
        return None
    capture = run.capture
    return {
        "written": capture.written,
        "dropped": capture.dropped,
        "overhead": json_number(capture.overhead),
        "budget": json_number(capture.budget),
        "every": capture.every,
        "histogram_every": capture.histogram_every,
        "reason": capture.reason,
        "errors": list(capture.errors),
        "format": schema.FORMAT_VERSION,
    }
