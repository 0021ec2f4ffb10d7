"""Which finding follows from which, and the order in which to read them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace

from tb_nnhealth.findings import SEVERITIES, Cause, Finding
from tb_nnhealth.rules.base import ASIDE, GIVEN, Group, Rule

SLACK_RECORDS = 10
"""A symptom may cross its limit this many records before its cause does: limits are not equally near.

But not where it was reported before the record at which its cause began: sparse records span many steps.
"""
SLACK_STEPS = 10
OUTCOMES = ("underfitting", "loss-not-decreasing", "still-improving")
"""Rules that only say that little was learned: what is merely unusual otherwise is their explanation."""
LARGE_STEPS = ("update-ratio-too-high", "learning-rate-too-high")
"""Rules that tell of steps too large. Activations that were well at the first record fell ill by steps: though their
limit is nearer, they are not the cause."""
DIVERGED, DIVERGED_WITHIN = "loss-diverging", 2
"""A loss leaps with the first step that is too large, of which the limit on steps may miss one or two records."""
SMALL_STEPS = ("update-ratio-too-low", "learning-rate-too-low")
"""Rules that tell of steps too small. The answers of a network as it was initialized hardly differ: where they were
alike from the first record on, it is the steps that have left them so."""
MEASURED_AT_ONCE = ("unnormalized-input", "constant-input")
"""Rules on what every record tells of what is fed: what such a finding explains began after the record before it."""
FED_OR_SET: tuple[Group, ...] = ("set-up", "data", "updates")
"""Groups whose findings may explain a severer one though they are information: what is fed, and what is set."""
WEIGHED = "loss-term-imbalance"
"""The weights of a loss's terms are set, too, though they are told by the loss."""
WITHIN_A_STEP: tuple[Group, ...] = (
    "set-up", "distributed", "data", "numerics", "weights", "activations", "gradients", "updates", "loss", "shim",
)  # fmt: skip
"""Of findings that began together that one stands first whose group comes first here: what is built and fed before
what is computed, and that in the order in which a step computes it."""


def link(findings: Sequence[Finding], rules: Sequence[Rule], record_steps: Sequence[int]) -> list[Finding]:
    """``findings`` with ``caused_by`` set to their root cause, root causes first, symptoms beneath them.

    A finding follows from another where the rules name the pair as causal and the cause did not begin later. What the
    program itself did (``GIVEN``) follows from nothing; what only says that little was learned (``OUTCOMES``) may
    follow from all that began before it was told. Roots stand in the order of the severest finding in their chain,
    those ``ASIDE`` last and else those that are ``GIVEN`` first, then of onset, then of ``WITHIN_A_STEP``; the symptoms
    of a root the severest first.
    """
    causes = {rule.id: frozenset(rule.causes) for rule in rules}
    by_group = sorted(rules, key=lambda rule: WITHIN_A_STEP.index(rule.group))
    place = {rule.id: i for i, rule in enumerate(by_group)}
    findings = sorted(findings, key=lambda finding: (finding.first_step, place[finding.rule]))
    groups = {rule.id: rule.group for rule in rules}
    candidates = [_possible_causes(i, findings, causes, place, groups, record_steps) for i in range(len(findings))]
    parents = [
        _direct_cause(finding, of, findings, candidates, place)
        for of, finding in zip(candidates, findings, strict=True)
    ]
    grown = frozenset(i for i, finding in enumerate(findings) if groups[finding.rule] == "weights")
    roots = [_root(i, parents, grown) for i in range(len(findings))]
    linked = [
        finding if roots[i] == i else replace(finding, caused_by=_cause(findings[roots[i]]))
        for i, finding in enumerate(findings)
    ]

    def severity(i: int) -> int:
        return SEVERITIES.index(findings[i].severity)

    worst = {root: max(severity(i) for i in range(len(findings)) if roots[i] == root) for root in set(roots)}
    order = sorted(
        range(len(findings)),
        key=lambda i: (
            -worst[roots[i]],
            bool(findings[roots[i]].evidence.more.get(ASIDE)),
            not findings[roots[i]].evidence.more.get(GIVEN),
            findings[roots[i]].first_step,
            place[findings[roots[i]].rule],
            roots[i],
            i != roots[i],
            -severity(i),
            findings[i].first_step,
            place[findings[i].rule],
        ),
    )
    return [linked[i] for i in order]


def _possible_causes(
    i: int,
    findings: Sequence[Finding],
    causes: dict[str, frozenset[str]],
    place: dict[str, int],
    groups: dict[str, Group],
    record_steps: Sequence[int],
) -> list[int]:
    finding = findings[i]

    def leads(one: Finding) -> tuple[int, int]:
        """The earlier leads; of those that one record tells the one whose place is before the other."""
        return bisect_left(record_steps, one.first_step) if record_steps else one.first_step, place[one.rule]

    def by_steps(one: Finding) -> bool:
        return groups[one.rule] == "activations" and bool(record_steps) and one.first_step > record_steps[0]

    def left_as_it_was(one: Finding, another: Finding) -> bool:
        alike = another.rule == "constant-output" and another.first_step <= (record_steps[0] if record_steps else 0)
        return alike and one.rule in SMALL_STEPS and one.severity != "info" and _throughout(one)

    def first(one: Finding, another: Finding) -> bool:
        """Which of two that may each follow from the other does not."""
        if (by_steps(another) and one.rule in LARGE_STEPS) or left_as_it_was(one, another):
            return True
        if left_as_it_was(another, one):
            return False
        if one.rule in LARGE_STEPS and another.rule == DIVERGED:
            return leads(one)[0] <= leads(another)[0] + DIVERGED_WITHIN
        if another.rule in LARGE_STEPS and one.rule == DIVERGED:
            return leads(another)[0] > leads(one)[0] + DIVERGED_WITHIN
        return not (by_steps(one) and another.rule in LARGE_STEPS) and leads(one) < leads(another)

    if finding.evidence.more.get(GIVEN):
        return []
    latest = min(_later_by_slack(finding.first_step, record_steps), _next_record(finding.fired_step, record_steps))
    latest = max(latest, finding.first_step + SLACK_STEPS)
    if finding.rule in OUTCOMES:  # it is told of the run as a whole: whatever began before it was told
        latest = max(latest, finding.fired_step)
    return [
        j
        for j, other in enumerate(findings)
        if j != i
        and finding.rule in causes[other.rule]
        and other.first_step <= latest
        and not other.evidence.more.get(ASIDE)
        and (other.severity != "info" or finding.severity == "info" or _accounts_for(other, finding, groups))
        and _tells_more(other, finding)
        and (other.rule not in MEASURED_AT_ONCE or other.first_step <= _next_record(finding.first_step, record_steps))
        and (other.rule not in causes[finding.rule] or GIVEN in other.evidence.more or first(other, finding))
    ]


def _throughout(slow: Finding) -> bool:
    """Whether the steps of the whole network are too small, and not those of single layers, to which little comes."""
    return not float(slow.evidence.more.get("median_of_layers", 0.0)) > slow.evidence.limit


def _tells_more(other: Finding, finding: Finding) -> bool:
    """Whether ``other`` is more than the word that little was learned, or ``finding`` no more than that itself."""
    return other.rule not in OUTCOMES or GIVEN in other.evidence.more or finding.rule in (*OUTCOMES, "slow-start")


def _accounts_for(unusual: Finding, finding: Finding, groups: dict[str, Group]) -> bool:
    """Whether what is merely unusual may explain a severer ``finding``.

    An outcome, where it is not over when that is told. Else what is fed or set, and not what is computed from it, where
    it began no later.
    """
    if finding.rule in OUTCOMES:
        return unusual.active or unusual.last_step >= finding.fired_step
    fed_or_set = groups[unusual.rule] in FED_OR_SET or unusual.rule == WEIGHED
    return fed_or_set and unusual.first_step <= finding.first_step


def _direct_cause(
    finding: Finding,
    possible: Sequence[int],
    findings: Sequence[Finding],
    candidates: Sequence[Sequence[int]],
    place: dict[str, int],
) -> int | None:
    """The earliest of the possible causes; of those that began together one that has no cause itself.

    An outcome, for which many a finding may account, goes to the severest of them, where they are milder than itself.
    """
    severity = SEVERITIES.index(finding.severity) if finding.rule in OUTCOMES else 0

    def order(j: int) -> tuple[int, int, bool, int]:
        mild = max(0, severity - SEVERITIES.index(findings[j].severity))
        return mild, findings[j].first_step, bool(candidates[j]), place[findings[j].rule]

    return min(possible, key=order, default=None)


def _later_by_slack(step: int, record_steps: Sequence[int]) -> int:
    """The step ``SLACK_RECORDS`` records after ``step``; records lie closer at the start of a run than later."""
    later = bisect_right(record_steps, step) - 1 + SLACK_RECORDS
    return max(step + SLACK_STEPS, record_steps[min(later, len(record_steps) - 1)] if record_steps else step)


def _next_record(step: int, record_steps: Sequence[int]) -> int:
    """The first record after ``step``, or ``step`` where it is the last."""
    at = bisect_right(record_steps, step)
    return record_steps[at] if at < len(record_steps) else step


def _root(i: int, parents: Sequence[int | None], grown: frozenset[int]) -> int:
    """The end of the chain of causes; of a circle the member that began first, which is the first of the findings.

    Where that are weights, ``grown``, it is what they follow from: what drives itself ever higher got into them by a
    step.
    """
    path = [i]
    while (parent := parents[path[-1]]) is not None:
        if parent in path:
            first = min(path[path.index(parent) :])
            cause = parents[first]
            return cause if first in grown and cause is not None else first
        path.append(parent)
    return path[-1]


def _cause(finding: Finding) -> Cause:
    return Cause(finding.rule, finding.subject)
