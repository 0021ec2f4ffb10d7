"""The zoo's arithmetic: what one specimen's findings are worth, and shares over many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from statistics import median
from typing import Any

from tests.zoo.registry import Specimen

FIRST_FEW = 3


@dataclass(frozen=True)
class Diagnosis:
    """How right the findings of an ill specimen are."""

    place: int | None
    """Of the first finding that names the right cause, counted from 1; None where none does."""
    on_subject: bool
    """Whether that finding is on the right subject."""
    delay: int | None
    """Steps from the onset of the fault to the report of that finding."""
    headlines: int
    """Warnings and critical findings that no other finding explains."""
    alarmed: bool
    """Whether there is any warning or critical finding at all."""

    @property
    def first(self) -> bool:
        return self.place == 1

    @property
    def among_first(self) -> bool:
        return self.place is not None and self.place <= FIRST_FEW


Findings = Sequence[Mapping[str, Any]]
"""As in the JSON of ``nnhealth inspect``."""


def diagnosis(specimen: Specimen, findings: Findings) -> Diagnosis:
    headlines = sum(finding["caused_by"] is None for finding in telling(findings))
    alarmed = bool(telling(findings))
    for place, finding in enumerate(findings, 1):
        if finding["rule"] in specimen.rules:
            on_subject = any(fnmatchcase(name, specimen.subject) for name in subjects(finding))
            return Diagnosis(place, on_subject, finding["fired_step"] - specimen.onset, headlines, alarmed)
    return Diagnosis(None, False, None, headlines, alarmed)


def telling(findings: Findings) -> list[Mapping[str, Any]]:
    """Those that change the verdict: warnings and critical ones."""
    return [finding for finding in findings if finding["severity"] != "info"]


def subjects(finding: Mapping[str, Any]) -> list[str]:
    """The finding's subject and its further ones."""
    return [finding["subject"], *(entry["subject"] for entry in finding["evidence"].get("subjects", ()))]


@dataclass(frozen=True)
class Score:
    """Several ill specimens taken together; shares are None of none."""

    runs: int
    first: float | None
    among_first: float | None
    on_subject: float | None
    alarmed: float | None
    delay: float | None
    """Median over those whose cause was found."""
    headlines: float | None
    """Mean."""
    headlines_most: int


def score(diagnoses: Sequence[Diagnosis]) -> Score:
    delays = [d.delay for d in diagnoses if d.delay is not None]
    headlines = [d.headlines for d in diagnoses]
    return Score(
        len(diagnoses),
        share(d.first for d in diagnoses),
        share(d.among_first for d in diagnoses),
        share(d.on_subject for d in diagnoses),
        share(d.alarmed for d in diagnoses),
        median(delays) if delays else None,
        sum(headlines) / len(headlines) if headlines else None,
        max(headlines, default=0),
    )


@dataclass(frozen=True)
class FalseAlarms:
    """Healthy runs on which something is said that should not be."""

    runs: int
    alarmed: int
    rules: Mapping[str, int]
    """Runs by rule, the most frequent first."""

    @property
    def rate(self) -> float | None:
        return self.alarmed / self.runs if self.runs else None


def false_alarms(healthy: Iterable[Findings]) -> FalseAlarms:
    alarmed = [{finding["rule"] for finding in telling(findings)} for findings in healthy]
    rules = Counter(rule for rules in alarmed for rule in rules)
    order = sorted(rules, key=lambda rule: (-rules[rule], rule))
    return FalseAlarms(len(alarmed), sum(map(bool, alarmed)), {rule: rules[rule] for rule in order})


def share(answers: Iterable[bool]) -> float | None:
    """Of those that are true, None of none."""
    given = list(answers)
    return sum(given) / len(given) if given else None
