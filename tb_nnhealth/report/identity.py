"""Which finding is the same as one of another report of the same run: of a run read again, or judged again later."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any, NamedTuple


class Identity(NamedTuple):
    """What stays of a finding while its training goes on; numbers, steps and severity may change."""

    run: str
    rule: str
    subject: str
    occurrence: int
    """0 for the first spell of this rule in this subject, 1 for the next."""

    @property
    def fingerprint(self) -> str:
        """The same in every report of every version: 32 hexadecimal digits."""
        written = json.dumps(list(self), ensure_ascii=True).encode()
        return hashlib.sha256(written).hexdigest()[:32]


def identities(report: dict[str, Any]) -> list[Identity]:
    """One for each of the report's findings, in their order."""
    findings = report["findings"]
    met: Counter[tuple[str, str]] = Counter()
    of: dict[int, Identity] = {}
    for i in sorted(range(len(findings)), key=lambda i: findings[i]["first_step"]):
        what = findings[i]["rule"], findings[i]["subject"]
        of[i] = Identity(report["run"], *what, met[what])
        met[what] += 1
    return [of[i] for i in range(len(findings))]
