"""The zoo's table, as markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tests.zoo.catalogue import PARTS, part
from tests.zoo.peers import PEERS
from tests.zoo.registry import Specimen
from tests.zoo.runner.run import Result
from tests.zoo.runner.score import (
    FIRST_FEW,
    Diagnosis,
    FalseAlarms,
    Findings,
    Score,
    diagnosis,
    false_alarms,
    score,
    telling,
)
from tests.zoo.runner.score_peers import PeerScore, our_score, peer_score

Specimens = Mapping[str, Specimen]


def table(specimens: Specimens, results: Sequence[Result], *, show_held_out: bool = False) -> str:
    """Everything that is told; of the part set aside only totals, unless ``show_held_out``."""
    return "\n\n".join(tables(specimens, results, show_held_out=show_held_out).values())


def tables(specimens: Specimens, results: Sequence[Result], *, show_held_out: bool = False) -> dict[str, str]:
    """The pieces of ``table`` by title, in its order; what is empty is left out."""
    sound = [result for result in results if result.error is None]
    parts = [(name, [r for r in sound if part(specimens[r.name]) == name]) for name in PARTS]
    parts = [(name, of_part) for name, of_part in parts if of_part]
    shown = [r for name, of_part in parts for r in of_part if name == PARTS[0] or show_held_out]
    open_parts = set(PARTS if show_held_out else PARTS[:1])
    pieces = {
        "Ill trainings": _ill(specimens, parts, shown),
        "Misses": _wrong(specimens, shown),
        "Healthy trainings": _healthy(specimens, parts, shown, open_parts),
        **({f"Other tools' criteria, {name}": _peers(specimens, of_part, name) for name, of_part in parts if PEERS}),
        "Broken": _broken(specimens, results, show_held_out),
    }
    return {title: piece for title, piece in pieces.items() if piece}


def _ill(specimens: Specimens, parts: Sequence[tuple[str, list[Result]]], shown: Sequence[Result]) -> str:
    kinds: dict[str, list[Diagnosis]] = {}
    for result in shown:
        if specimens[result.name].ill:
            told = diagnosis(specimens[result.name], result.findings)
            kinds.setdefault(specimens[result.name].kind, []).append(told)
    totals = [
        (name, [diagnosis(specimens[r.name], r.findings) for r in of_part if specimens[r.name].ill])
        for name, of_part in parts
    ]
    if not any(diagnoses for _, diagnoses in totals):
        return ""
    return "\n".join(
        [
            f"| ill kind | runs | cause first | among the first {FIRST_FEW} | right subject | delay (steps, median) "
            "| headlines (mean, most) | any alarm |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *(_score_row(kind, score(kinds[kind])) for kind in sorted(kinds)),
            *(_score_row(f"**all, {name}**", score(diagnoses)) for name, diagnoses in totals if diagnoses),
        ]
    )


def _score_row(name: str, scored: Score) -> str:
    cells = [
        name, str(scored.runs), percent(scored.first), percent(scored.among_first), percent(scored.on_subject),
        number(scored.delay), f"{number(scored.headlines)}, {scored.headlines_most}", percent(scored.alarmed),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _wrong(specimens: Specimens, shown: Sequence[Result]) -> str:
    """The ill runs whose first finding is not the right cause on the right subject, and what is said of them."""
    lines = []
    for result in sorted(shown, key=lambda result: (specimens[result.name].kind, result.name)):
        specimen = specimens[result.name]
        told = diagnosis(specimen, result.findings)
        if specimen.ill and not (told.first and told.on_subject):
            expected = " or ".join(specimen.rules) + (f" in {specimen.subject}" if specimen.subject != "*" else "")
            lines.append(f"- {specimen.name}: expected {expected}; found {_named(result.findings[:5]) or 'nothing'}")
    return "\n".join(["Not first, or on another subject:", "", *lines]) if lines else ""


def _healthy(
    specimens: Specimens, parts: Sequence[tuple[str, list[Result]]], shown: Sequence[Result], open_parts: set[str]
) -> str:
    by_part = [(name, [r for r in of_part if not specimens[r.name].ill]) for name, of_part in parts]
    counts = [(name, false_alarms(r.findings for r in healthy)) for name, healthy in by_part if healthy]
    if not counts:
        return ""
    told = [(name, found.rules if name in open_parts else None) for name, found in counts]
    in_all = sum((Counter(rules) for _, rules in told if rules is not None), Counter[str]())
    lines = [
        f"| false alarms | {' | '.join(name for name, _ in counts)} |",
        f"| --- {'| --- ' * len(counts)}|",
        *(_rule_row(rule, [rules for _, rules in told]) for rule in sorted(in_all, key=lambda rule: -in_all[rule])),
        f"| **healthy runs with any** | {' | '.join(_rate(found) for _, found in counts)} |",
    ]
    alarmed = [(r.name, telling(r.findings)) for r in shown if not specimens[r.name].ill and telling(r.findings)]
    return "\n".join([*lines, "", *(f"- {name}: {_named(found)}" for name, found in alarmed)]).strip()


def _rule_row(rule: str, parts: Sequence[Mapping[str, int] | None]) -> str:
    return f"| {rule} | {' | '.join('not shown' if rules is None else str(rules.get(rule, 0)) for rules in parts)} |"


def _rate(found: FalseAlarms) -> str:
    return f"**{found.alarmed} of {found.runs} ({percent(found.rate, 1)})**"


def _named(findings: Findings) -> str:
    return "; ".join(f"{f['rule']} in {f['subject'] or 'the run'} ({f['severity']})" for f in findings)


def _peers(specimens: Specimens, results: Sequence[Result], name: str) -> str:
    scores = [our_score(specimens, results), *(peer_score(peer, specimens, results) for peer in PEERS)]
    return "\n".join(
        [
            f"| criteria, {name} | ill kinds covered | cause named, of those covered | cause named, of all ill runs "
            "| any alarm on ill runs | false alarms on healthy runs |",
            "| --- | --- | --- | --- | --- | --- |",
            *map(_peer_row, scores),
        ]
    )


def _peer_row(scored: PeerScore) -> str:
    cells = [
        scored.name, str(scored.kinds_covered), percent(scored.named), percent(scored.named_of_all),
        percent(scored.alarmed), f"{scored.false_alarms} of {scored.healthy} ({percent(scored.false_alarm_rate, 1)})",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _broken(specimens: Specimens, results: Sequence[Result], show_held_out: bool) -> str:
    lines = []
    for result in results:
        for what, told in (
            ("broken", result.error),
            ("recording error", result.recording_error),
            ("disagreement", result.disagreement),
        ):
            if told is not None:
                visible = show_held_out or not specimens[result.name].held_out or what == "broken"
                name = result.name if visible else "one set aside"
                lines.append(f"- **{what}: {name}**: {_last_line(told) if visible else 'not shown'}")
    return "\n".join(lines)


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def times(specimens: Specimens, results: Sequence[Result]) -> str:
    rows = sorted(results, key=lambda result: -result.seconds)
    return "\n".join(
        [
            "| specimen | kind | steps | processor seconds |",
            "| --- | --- | --- | --- |",
            *(f"| {r.name} | {specimens[r.name].kind} | {r.steps} | {r.seconds:.1f} |" for r in rows),
        ]
    )


def percent(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
