"""Asks every rule about a run, and puts the answers in the order in which a user should act on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tb_nnhealth.findings import Finding
from tb_nnhealth.history import Run
from tb_nnhealth.rules.base import (
    Case,
    Closest,
    CouldNotCheck,
    Failed,
    Group,
    Hit,
    Ill,
    NotApplicable,
    Options,
    Outcome,
    Passed,
    Rule,
    TooLittleData,
)
from tb_nnhealth.rules.configuration import Tuning, overlaid, recorded_rules, recorded_scalars
from tb_nnhealth.rules.evidence.once import one_judgement
from tb_nnhealth.rules.folding import fold
from tb_nnhealth.rules.onsets import link_on_one_axis
from tb_nnhealth.rules.registry import RULES

Verdict = Literal["healthy", "warning", "critical", "no-data"]
WATCH_LINE = "call writer.watch(model, optimizer) and train"


@dataclass(frozen=True)
class Judgement:
    """All that the rules said of a run: ``findings`` root causes first, and each rule's ``outcomes``."""

    findings: tuple[Finding, ...]
    outcomes: Mapping[str, Outcome]
    groups: Mapping[str, Group] = field(default_factory=dict)
    """The group of each rule asked."""

    @property
    def verdict(self) -> Verdict:
        severities = {finding.severity for finding in self.findings}
        if "critical" in severities:
            return "critical"
        if "warning" in severities:
            return "warning"
        return "healthy" if any(self._tells_of_health(rule_id) for rule_id in self.outcomes) else "no-data"

    def _tells_of_health(self, rule_id: str) -> bool:
        """Whether a rule was judged whose passing means something: that three losses are finite does not."""
        judged = isinstance(self.outcomes[rule_id], (Passed, Ill))
        return judged and self.groups.get(rule_id) not in ("numerics", "shim")

    @property
    def closest(self) -> Closest | None:
        """Of the rules that passed, the one that came nearest to its limit."""
        near = [o.closest for o in self.outcomes.values() if isinstance(o, Passed) and o.closest is not None]
        return max(near, key=lambda closest: closest.share, default=None)


def judge(run: Run, tuning: Tuning | None = None, rules: Sequence[Rule] = RULES) -> Judgement:
    """What ``rules`` say of ``run``, under the tuning recorded in the log with ``tuning`` laid over it.

    A rule that raises is reported as ``Failed`` and never stops the others. A line of another run's plots is judged
    with that run, so that nothing is told twice.
    """
    if run.part_of:
        elsewhere = NotApplicable(f"judged with the run {run.part_of!r}, of which this is a line")
        return Judgement((), dict.fromkeys((rule.id for rule in rules), elsewhere))
    with one_judgement():
        return _judge(run, tuning, rules)


def _judge(run: Run, tuning: Tuning | None, rules: Sequence[Rule]) -> Judgement:
    over = tuning or Tuning()
    recorded = {
        watch: overlaid(over.rules, recorded_rules(history.layout.rules_json)) for watch, history in run.watches.items()
    }
    names = [recorded_scalars(history.layout.scalars_json) for history in run.watches.values()]
    run.names = {tag: name for given in (*names, over.scalars) for tag, name in given.items()}
    findings: list[Finding] = []
    outcomes: dict[str, Outcome] = {}
    for rule in rules:
        answers: list[Outcome] = []
        hits: list[Hit] = []
        for watch, case in _cases(run, rule, recorded, over.rules):
            answer = _ask(rule, case) if case is not None else NotApplicable(f"switched off for watch {watch!r}")
            if isinstance(answer, Ill):
                kept = _kept_hits(answer.hits, case)
                hits += kept
                answer = Ill(kept) if kept else Passed()
            answers.append(answer)
        outcomes[rule.id] = _combined(answers)
        findings += fold(rule, hits)
    linked = link_on_one_axis(run, findings, rules, _record_steps(run))
    return Judgement(tuple(linked), outcomes, {rule.id: rule.group for rule in rules})


def _ask(rule: Rule, case: Case) -> Outcome:
    if rule.scope == "watch" and case.history is None:
        return CouldNotCheck(WATCH_LINE)
    try:
        return rule.check(case)
    except Exception as error:
        return Failed(f"{type(error).__name__}: {error}")


def _cases(
    run: Run, rule: Rule, options: Mapping[str, Mapping[str, Any]], unwatched: Mapping[str, Any]
) -> Iterable[tuple[str, Case | None]]:
    """The watches, or the run, that a rule is asked about; None where the user switched it off."""
    if rule.scope == "run" or not run.watches:
        merged = {key: value for given in options.values() for key, value in given.items()} or unwatched
        first = next(iter(run.watches.values()), None)
        yield "", _case(run, rule, first, "", merged)
        return
    for watch, (prefix, history) in zip(run.watches, run.histories(), strict=True):
        yield watch, _case(run, rule, history, prefix, options[watch])


def _case(run: Run, rule: Rule, history: Any, prefix: str, given: Mapping[str, Any]) -> Case | None:
    options = given.get(rule.id, {})
    if options is False:
        return None
    return Case(run, history, prefix, Options(rule.options, options if isinstance(options, Mapping) else {}))


def _kept_hits(hits: Iterable[Hit], case: Case | None) -> list[Hit]:
    assert case is not None
    kept = []
    for hit in hits:
        if not case.options.silenced(hit.subject):
            severity = case.options.severity_of(hit.subject) or hit.severity
            kept.append(replace(hit, subject=case.prefix + hit.subject, severity=severity))
    return kept


def _combined(answers: Sequence[Outcome]) -> Outcome:
    """One outcome for a rule asked about several watches: the most telling."""
    if any(isinstance(answer, Ill) for answer in answers):
        return Ill([hit for answer in answers if isinstance(answer, Ill) for hit in answer.hits])
    for kind in (Failed, Passed, TooLittleData, CouldNotCheck, NotApplicable):
        of_kind = [answer for answer in answers if isinstance(answer, kind)]
        if kind is Passed and of_kind:
            near = [a.closest for a in of_kind if isinstance(a, Passed) and a.closest is not None]
            return Passed(max(near, key=lambda closest: closest.share, default=None))
        if of_kind:
            return of_kind[0]
    return NotApplicable("nothing to ask about")


def _record_steps(run: Run) -> Sequence[int]:
    """Steps of the records of the longest watch."""
    longest = max(run.watches.values(), key=len, default=None)
    return [] if longest is None else longest.steps.tolist()
