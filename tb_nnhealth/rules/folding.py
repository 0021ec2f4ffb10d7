"""Many hits of one rule that belong together are one finding."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tb_nnhealth.findings import SEVERITIES, Evidence, Finding
from tb_nnhealth.rules.base import ASIDE, Hit, Rule

SUBJECTS_LISTED = 50
SUBJECTS_NAMED = 3


def fold(rule: Rule, hits: Sequence[Hit]) -> list[Finding]:
    """One finding for each group of hits whose times overlap.

    The severest hit that began first, and is not said aside, speaks for the group (ties: the highest rank); the others
    are named in its message and listed in its evidence as ``subjects``.
    """
    findings = []
    for group in _overlapping(hits):
        severity = max((hit.severity for hit in group), key=SEVERITIES.index)
        severest = [hit for hit in group if hit.severity == severity]
        leader = min(severest, key=lambda hit: (bool(hit.more.get(ASIDE)), hit.first_step, -hit.rank))
        others = sorted((hit for hit in group if hit is not leader), key=lambda hit: (hit.first_step, -hit.rank))
        more = dict(leader.more)
        if others:
            more["subjects"] = [
                {"subject": hit.subject, "first_step": hit.first_step, "last_step": hit.last_step}
                for hit in [leader, *others][:SUBJECTS_LISTED]
            ]
            more["subject_count"] = len(group)
        findings.append(
            Finding(
                rule=rule.id,
                severity=severity,
                subject=leader.subject,
                first_step=leader.first_step,
                fired_step=leader.fired_step,
                last_step=max(hit.last_step for hit in group),
                count=max(hit.count for hit in group),
                active=any(hit.active for hit in group),
                message=leader.message + _also(others),
                advice=leader.advice,
                evidence=Evidence(
                    leader.statistic, leader.unit, leader.value, leader.limit, leader.direction, leader.healthy, more
                ),
            )
        )
    return findings


def _overlapping(hits: Sequence[Hit]) -> list[list[Hit]]:
    groups: list[list[Hit]] = []
    end = -math.inf
    for hit in sorted(hits, key=lambda hit: hit.first_step):
        if not groups or hit.first_step > end:
            groups.append([])
            end = -math.inf
        groups[-1].append(hit)
        end = max(end, math.inf if hit.active else hit.last_step)
    return groups


def _also(others: Sequence[Hit]) -> str:
    names = list(dict.fromkeys(hit.subject for hit in others if hit.subject))
    if not names:
        return ""
    shown = ", ".join(f"`{name}`" for name in names[:SUBJECTS_NAMED])
    rest = len(names) - SUBJECTS_NAMED
    return f" Also in {shown}" + (f" and {rest} more." if rest > 0 else ".")
