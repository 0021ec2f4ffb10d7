"""What a rule says about a run: findings with their evidence. Plain data, JSON in and out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["info", "warning", "critical"]
Direction = Literal["above", "below"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")


@dataclass(frozen=True)
class Evidence:
    """The number that fired the rule.

    ``statistic`` names what was measured, in ``unit`` ("1" for a ratio); ``value`` is its worst;
    ``limit`` fires the rule in ``direction``; ``healthy`` is the band where it usually lies;
    ``more`` holds whatever numbers the rule adds, flattened into the JSON object.
    """

    statistic: str
    unit: str
    value: float
    limit: float
    direction: Direction
    healthy: tuple[float, float] | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "statistic": self.statistic,
            "unit": self.unit,
            "value": json_number(self.value),
            "limit": json_number(self.limit),
            "direction": self.direction,
            "healthy": None if self.healthy is None else [json_number(x) for x in self.healthy],
            **{key: json_number(value) for key, value in self.more.items()},
        }


@dataclass(frozen=True)
class Cause:
    """The finding that a symptom follows from."""

    rule: str
    subject: str


@dataclass(frozen=True)
class Finding:
    """One illness of one run, as the rule that found it tells it.

    ``first_step`` is the crossing, ``fired_step`` the step at which it had held long enough to be
    reported, ``count`` the records in which the condition held, ``active`` whether it still holds
    at the last one. ``subject`` is a module, a parameter or a scalar tag; empty for the whole run.
    """

    rule: str
    severity: Severity
    subject: str
    first_step: int
    fired_step: int
    last_step: int
    count: int
    active: bool
    message: str
    advice: tuple[str, ...]
    evidence: Evidence
    caused_by: Cause | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "severity": self.severity,
            "subject": self.subject,
            "first_step": self.first_step,
            "fired_step": self.fired_step,
            "last_step": self.last_step,
            "count": self.count,
            "active": self.active,
            "caused_by": None
            if self.caused_by is None
            else {"rule": self.caused_by.rule, "subject": self.caused_by.subject},
            "message": self.message,
            "evidence": self.evidence.to_json(),
            "advice": list(self.advice),
        }


def json_number(value: Any) -> Any:
    """``value`` with numpy scalars unwrapped and non-finite floats as the strings JSON lacks."""
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, (list, tuple)):
        return [json_number(item) for item in value]
    return value
