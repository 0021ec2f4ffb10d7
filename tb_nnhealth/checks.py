"""What the sanity checks before training say: a report of checks. Plain data, JSON in and out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from tb_nnhealth.findings import json_number

Status = Literal["pass", "warn", "fail", "skip"]
STATUSES: tuple[Status, ...] = get_args(Status)
CHECKS_READ = 256
"""Of one report; a longer list is none of ours."""


@dataclass(frozen=True)
class CheckResult:
    """What became of one check.

    ``message`` is one or two sentences; ``evidence`` holds the numbers behind them (losses in the criterion's unit,
    counts, names) and ``advice`` what to try, the likeliest first. "skip" never reads as "passed".
    """

    id: str
    status: Status
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    advice: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "status": self.status,
            "message": self.message,
            "evidence": {name: json_number(value) for name, value in self.evidence.items()},
            "advice": list(self.advice),
        }


@dataclass(frozen=True)
class PreflightReport:
    """The checks in the order in which they ran. ``print(report)`` shows them."""

    checks: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """No check failed. Warnings and skipped checks are for a person to read."""
        return all(check.status != "fail" for check in self.checks)

    def __getitem__(self, check_id: str) -> CheckResult:
        for check in self.checks:
            if check.id == check_id:
                return check
        raise KeyError(f"no check {check_id!r}; there are {', '.join(check.id for check in self.checks)}")

    def __str__(self) -> str:
        return "\n".join(lines(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """``{"ok": …, "checks": [...]}``, as it stands in the log and in the report of a run."""
        return {"ok": self.ok, "checks": [check.to_json() for check in self.checks]}

    def encode(self) -> bytes:
        """The UTF-8 JSON of the log."""
        return json.dumps(self.to_json(), ensure_ascii=False, allow_nan=False, default=str).encode("utf-8", "replace")


def decode(data: bytes) -> dict[str, Any]:
    """A report as ``PreflightReport.encode`` made it, or a writer in another language.

    Keeps the fields of the format alone. Raises ValueError for what is no report.
    """
    try:
        found = json.loads(data.decode())
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(found, dict) or not isinstance(found.get("checks"), list):
        raise ValueError('expected an object with "checks", a list')
    if len(found["checks"]) > CHECKS_READ:
        raise ValueError(f"expected at most {CHECKS_READ} checks, found {len(found['checks'])}")
    return PreflightReport(tuple(_result(item) for item in found["checks"])).to_json()


def _result(item: Any) -> CheckResult:
    if not isinstance(item, dict) or item.get("status") not in STATUSES or not isinstance(item.get("id"), str):
        raise ValueError('a check: expected an object with "id" and a "status" of ' + ", ".join(STATUSES))
    message, evidence, advice = item.get("message", ""), item.get("evidence", {}), item.get("advice", [])
    strings = isinstance(advice, list) and all(isinstance(line, str) for line in advice)
    if not isinstance(message, str) or not isinstance(evidence, dict) or not strings:
        raise ValueError(f"check {item['id']!r}: expected a message, evidence by name and a list of advice")
    kept = {name: value for name, value in evidence.items() if _plain(value)}
    return CheckResult(item["id"], cast(Status, item["status"]), message, kept, tuple(advice))


def _plain(value: Any) -> bool:
    """A number, a text, or a list of them."""
    single = (str, int, float, type(None))
    return isinstance(value, single) or (isinstance(value, list) and all(isinstance(item, single) for item in value))


def lines(report: Mapping[str, Any]) -> list[str]:
    """The report, as ``to_json`` makes it, in lines of text: a check per line, with advice where it did not pass."""
    told = []
    for check in report["checks"]:
        told.append(f"{check['status']:<4}  {check['id']}: {check['message']}")
        if check["status"] in ("fail", "warn"):
            told += [f"      {number}. {advice}" for number, advice in enumerate(check["advice"], 1)]
    return told


def tally(report: Mapping[str, Any]) -> str:
    """ "9 passed, 1 failed, 2 skipped"."""
    words = {"fail": "failed", "warn": "with a warning", "pass": "passed", "skip": "skipped"}
    counts = {status: sum(check["status"] == status for check in report["checks"]) for status in words}
    return ", ".join(f"{counts[status]} {word}" for status, word in words.items() if counts[status]) or "no checks"
