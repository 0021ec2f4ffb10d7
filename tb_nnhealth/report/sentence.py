"""The verdict as one sentence that a person would write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tb_nnhealth.checks import tally
from tb_nnhealth.findings import Finding
from tb_nnhealth.rules.base import CouldNotCheck, Ill, NotApplicable, Passed, TooLittleData
from tb_nnhealth.rules.engine import WATCH_LINE, Judgement
from tb_nnhealth.rules.registry import BY_ID

Piece = dict[str, str]
SYMPTOMS_TOLD = 3
SEVERAL = 3
"""Rules that do not apply for one and the same reason, from which that says why nothing was judged."""


def chain(findings: Sequence[Finding]) -> list[int]:
    """Indices of the first root cause and its symptoms, in the order of onset."""
    if not findings:
        return []
    root = findings[0]
    symptoms = [
        i
        for i, finding in enumerate(findings)
        if finding.caused_by is not None
        and (finding.caused_by.rule, finding.caused_by.subject) == (root.rule, root.subject)
    ]
    return [0, *sorted(symptoms, key=lambda i: findings[i].first_step)]


def sentence(
    judgement: Judgement, *, layers: int, steps: int | None, preflight: Mapping[str, Any] | None = None
) -> list[Piece]:
    """Pieces of the sentence: {"text": …}, or {"code": …} for names."""
    telling = [finding for finding in judgement.findings if finding.severity != "info"]
    if telling:
        return _ill(telling)
    if judgement.verdict == "no-data" and steps is None and preflight is not None:
        return [{"text": f"No training yet; of the checks before it: {tally(preflight)}."}]
    if judgement.verdict == "no-data":
        return [{"text": _no_data(judgement, steps)}]
    checks = sum(isinstance(outcome, (Passed, Ill)) for outcome in judgement.outcomes.values())
    over = f"{_plural(layers, 'layer')} and " if layers else ""
    return [{"text": f"Healthy: {_plural(checks, 'check')} over {over}{_plural((steps or 0) + 1, 'step')}."}]


def plain(pieces: Sequence[Piece]) -> str:
    """The sentence as text, names in backticks."""
    return "".join(piece["text"] if "text" in piece else f"`{piece['code']}`" for piece in pieces)


def _ill(findings: Sequence[Finding]) -> list[Piece]:
    root = findings[0]
    pieces = [{"text": BY_ID[root.rule].ill}]
    if root.subject:
        pieces += [{"text": " in "}, {"code": root.subject}]
    pieces.append({"text": f" from step {root.first_step:,}"})
    symptoms = [findings[i] for i in chain(findings)[1 : SYMPTOMS_TOLD + 1]]
    for place, symptom in enumerate(symptoms):
        last = place == len(symptoms) - 1
        opening = "; then " if symptom.first_step >= root.first_step else "; with it "
        joint = opening if place == 0 else (" and " if last else ", ")
        pieces.append({"text": f"{joint}{_lower(BY_ID[symptom.rule].ill)}"})
        if symptom.subject and symptom.subject != root.subject:
            pieces += [{"text": " in "}, {"code": symptom.subject}]
        pieces.append({"text": f" at {symptom.first_step:,}"})
    others = sum(finding.caused_by is None for finding in findings) - 1
    pieces.append({"text": f". {_plural(others, 'more root cause')} below." if others > 0 else "."})
    return pieces


def _no_data(judgement: Judgement, steps: int | None) -> str:
    if steps is None:
        return "No data: this run holds neither scalars nor health records yet."
    little = next((o.why for o in judgement.outcomes.values() if isinstance(o, TooLittleData)), None)
    needs = next((o.needs for o in judgement.outcomes.values() if isinstance(o, CouldNotCheck)), WATCH_LINE)
    why = Counter(o.why for o in judgement.outcomes.values() if isinstance(o, NotApplicable)).most_common(1)
    if not little and why and why[0][1] >= SEVERAL:
        return f"No data: the scalars alone tell nothing here ({why[0][0]}); {needs}."
    return f"No data: nothing could be judged yet ({little or needs})."


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _lower(title: str) -> str:
    """The title within a sentence; a word like NaN or ReLU keeps its capitals."""
    return title[:1].lower() + title[1:] if title.split()[0][1:].islower() else title
