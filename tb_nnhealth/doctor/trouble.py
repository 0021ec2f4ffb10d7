"""What the doctor finds: plain data, JSON out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tb_nnhealth.findings import SEVERITIES, Severity

IDS = (
    "corrupt-record", "no-event-file", "unreadable", "torn-record", "oversized-record", "undecodable-record",
    "copied-file", "two-writers", "files-out-of-order", "steps-go-back", "repeated-step", "format-too-new",
    "unknown-file-version", "dropped-records", "resumed-at-earlier-step", "sampled", "clock-goes-back",
    "clock-in-the-future", "no-wall-time", "empty-file", "not-closed", "not-searched",
)  # fmt: skip
"""Every kind of trouble; docs/doctor.md says what each is."""


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong with a log.

    "critical" hides data that was written, "warning" may, "info" is worth knowing.
    """

    id: str
    severity: Severity
    path: str
    """The file, or the run's directory."""
    message: str
    """A sentence: what is wrong, and what comes of it."""
    advice: str
    """What to do."""
    offset: int | None = None
    """The byte of the file where it begins."""
    step: int | None = None
    count: int = 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Examined:
    """What was looked at, and what is wrong with it, the worst first."""

    runs: int
    files: int
    records: int
    size: int
    """Bytes of all files."""
    troubles: tuple[Trouble, ...]

    def at_least(self, severity: Severity) -> bool:
        """Whether any trouble is as severe."""
        least = SEVERITIES.index(severity)
        return any(SEVERITIES.index(trouble.severity) >= least for trouble in self.troubles)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "runs": self.runs,
            "files": self.files,
            "records": self.records,
            "bytes": self.size,
            "troubles": [trouble.to_json() for trouble in self.troubles],
        }


def worst_first(troubles: Sequence[Trouble]) -> tuple[Trouble, ...]:
    """In the order of severity; those as severe stay in their order."""
    return tuple(sorted(troubles, key=lambda trouble: -SEVERITIES.index(trouble.severity)))
