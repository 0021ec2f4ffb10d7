"""One rule judged anew with another value of one of its options: which findings would go, come or change.

Rules know nothing of each other, so that asking the one rule gives the same findings as asking all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tb_nnhealth.findings import Finding
from tb_nnhealth.history import Run
from tb_nnhealth.plugin.limits import recorded_rules
from tb_nnhealth.rules.base import Failed, NotApplicable, Options, Outcome, Rule, TooLittleData
from tb_nnhealth.rules.configuration import Tuning
from tb_nnhealth.rules.engine import judge

_SHOWN = ("rule", "subject", "severity", "first_step", "last_step", "count", "message")
CHANGES_MOST = 50
_VERDICTS = ("critical", "warning")


def options(run: Run, rule: Rule) -> list[dict[str, Any]]:
    """The options of ``rule``, with the values under which ``run`` was judged."""
    given = recorded_rules(run).get(rule.id)
    values = Options(rule.options, given if isinstance(given, Mapping) else {})
    return [
        {"name": o.name, "value": values[o.name], "default": o.default, "unit": o.unit, "help": o.help}
        for o in rule.options
    ]


def rejudge(run: Run, report: Mapping[str, Any], rule: Rule, option: str, value: float) -> dict[str, Any]:
    """What would change of ``report`` if ``rules={rule.id: {option: value}}`` were given, and the lines to give it."""
    judgement = judge(run, Tuning({rule.id: {option: value}}), [rule])
    before = [finding for finding in report["findings"] if finding["rule"] == rule.id]
    changes, kept = _changes(before, [_plain(finding) for finding in judgement.findings])
    others = [finding["severity"] for finding in report["findings"] if finding["rule"] != rule.id]
    verdict = _verdict(report["verdict"], [*others, *(finding.severity for finding in judgement.findings)])
    return {
        "option": option,
        "value": value,
        "verdict": verdict,
        "changes": changes[:CHANGES_MOST],
        "changes_left_out": max(0, len(changes) - CHANGES_MOST),
        "kept": kept,
        "sentence": _sentence(changes, kept, report["verdict"], verdict, judgement.outcomes[rule.id]),
        "python": f'writer.watch(model, optimizer, rules={{"{rule.id}": {{"{option}": {value:.6g}}}}})',
        "toml": f"[rules.{rule.id}]\n{option} = {value:.6g}",
    }


def _plain(finding: Finding) -> dict[str, Any]:
    subjects = finding.evidence.more.get("subjects") or [{"subject": finding.subject}]
    return {**finding.to_json(), "subjects": subjects}


def _changes(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], int]:
    """What became of each finding of the rule, and how many stayed as they are."""
    changes: list[dict[str, Any]] = []
    kept = 0
    left = list(after)
    for was in before:
        now = next((f for f in left if f["subject"] == was["subject"]), None)
        now = now or next((f for f in left if _subjects(f) & _subjects(was)), None)
        if now is None:
            changes.append({"kind": "gone", "was": None, **_shown(was)})
            continue
        left.remove(now)
        if all(now[name] == was[name] for name in ("subject", "severity", "first_step", "last_step", "count")):
            kept += 1
        else:
            changes.append({"kind": "changed", "was": _shown(was), **_shown(now)})
    changes += [{"kind": "new", "was": None, **_shown(finding)} for finding in left]
    return changes, kept


def _subjects(finding: Mapping[str, Any]) -> set[str]:
    return {entry["subject"] for entry in finding["subjects"]} | {finding["subject"]}


def _shown(finding: Mapping[str, Any]) -> dict[str, Any]:
    return {name: finding[name] for name in _SHOWN}


def _verdict(before: str, severities: Sequence[str]) -> str:
    worst = next((severity for severity in _VERDICTS if severity in severities), None)
    return worst or ("no-data" if before == "no-data" else "healthy")


def _sentence(changes: Sequence[Mapping[str, Any]], kept: int, before: str, after: str, outcome: Outcome) -> str:
    if isinstance(outcome, (Failed, NotApplicable, TooLittleData)):
        why = outcome.error if isinstance(outcome, Failed) else outcome.why
        return f"With this value the rule would not judge: {why}" if changes else f"The rule does not judge: {why}"
    if not changes:
        return "Nothing would change."
    counts = {kind: sum(change["kind"] == kind for change in changes) for kind in ("gone", "new", "changed")}
    words = {"gone": "would be gone", "new": "would be new", "changed": "would change"}
    parts = [f"{count} finding{'s' * (count > 1)} {words[kind]}" for kind, count in counts.items() if count]
    said = ", ".join(parts) + (f", {kept} would stay" if kept else "")
    return f"{said}; the run would be {after.replace('-', ' ')}." if after != before else f"{said}."
