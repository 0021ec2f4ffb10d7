"""A baseline: findings that are known, so that a report shows only what is new."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from tb_nnhealth.findings import Finding
from tb_nnhealth.rules.engine import Judgement

SCHEMA = 1


class BaselineError(ValueError):
    """A file that is no baseline; the message says what was expected."""


@dataclass(frozen=True)
class Known:
    """One known finding. ``run`` and ``subject`` may be globs."""

    run: str
    rule: str
    subject: str

    def covers(self, run: str, finding: Finding) -> bool:
        return self.rule == finding.rule and _matches(run, self.run) and _matches(finding.subject, self.subject)


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def parse(text: str) -> tuple[Known, ...]:
    """The known findings of a baseline file. Raises BaselineError."""
    try:
        entries = json.loads(text)["findings"]
        return tuple(Known(entry["run"], entry["rule"], entry["subject"]) for entry in entries)
    except (ValueError, TypeError, KeyError) as error:
        raise BaselineError(
            'expected a baseline, {"findings": [{"run": ..., "rule": ..., "subject": ...}]}, as '
            f"`nnhealth inspect --write-baseline` makes it; found {type(error).__name__}: {error}"
        ) from error


def render(reports: Iterable[dict[str, Any]]) -> str:
    """The baseline of ``reports``, JSON in a stable order that makes good diffs."""
    known = sorted({(r["run"], f["rule"], f["subject"]) for r in reports for f in r["findings"]})
    entries = [{"run": run, "rule": rule, "subject": subject} for run, rule, subject in known]
    return json.dumps({"schema": SCHEMA, "findings": entries}, indent=1) + "\n"


def without(judgement: Judgement, run: str, known: Sequence[Known]) -> tuple[Judgement, int]:
    """``judgement`` with only the findings that are not known, and the number of those that are."""
    new = tuple(f for f in judgement.findings if not any(entry.covers(run, f) for entry in known))
    return replace(judgement, findings=new), len(judgement.findings) - len(new)
