"""What several formats count and sort alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tb_nnhealth.findings import SEVERITIES

VERDICTS = ("critical", "warning", "healthy", "no-data")
"""The worst first."""


def totals(reports: Sequence[dict[str, Any]]) -> str:
    """ "3 runs: 1 critical, 2 healthy"."""
    counts = Counter(report["verdict"] for report in reports)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return f"{len(reports)} run{'' if len(reports) == 1 else 's'}" + (f": {told}" if told else "")


def severest(reports: Sequence[dict[str, Any]]) -> int:
    """Place in ``SEVERITIES`` of the severest finding, -1 without any."""
    found = (finding["severity"] for report in reports for finding in report["findings"])
    return max((SEVERITIES.index(severity) for severity in found), default=-1)


def span(finding: dict[str, Any]) -> str:
    """ "steps 40–500", and whether it is over."""
    return f"steps {finding['first_step']}–{finding['last_step']}" + ("" if finding["active"] else " (over)")
