"""Changes for tests, with names that try to be more than names."""

from __future__ import annotations

from typing import Any

from tb_nnhealth.follow.changes import Change
from tb_nnhealth.report.identity import Identity

EVIL = "$(touch evil); `id`\n\x1b[2J\0'\"--"


def finding(subject: str = "layers.3", **given: Any) -> dict[str, Any]:
    return {
        "rule": "non-finite",
        "severity": "critical",
        "subject": subject,
        "subjects": [{"subject": subject}],
        "first_step": 81,
        "fired_step": 81,
        "last_step": 99,
        "count": 19,
        "active": True,
        "caused_by": None,
        "message": f"NaN in {subject}.",
        "advice": ["Look."],
        "evidence": {},
        "rule_page": "long",
        **given,
    }


def report(*findings: dict[str, Any], run: str = "exp1") -> dict[str, Any]:
    verdict = "critical" if findings else "healthy"
    return {"run": run, "verdict": verdict, "steps": 99, "last_wall": 1.7e9, "findings": list(findings)}


def change(subject: str = "layers.3", run: str = "exp1", **given: Any) -> Change:
    return Change("appeared", Identity(run, "non-finite", subject, 0), finding(subject, **given))
